// One vitest set-up for every folder of test/: real peers and several processes share two cores, so files run in few workers.
import { defineConfig } from 'vitest/config'
import { namedForks } from './test/support/named-forks.ts'

const FAULTS = 'test/integration/faults/**/*.test.ts'

export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // How long a test may wait is no claim: a busy machine takes longer and is not wrong.
    expect: { poll: { timeout: 30_000 } },
    pool: namedForks,
    projects: [
      {
        extends: true,
        test: {
          name: 'rooms',
          include: ['test/**/*.test.ts'],
          exclude: [FAULTS],
          maxWorkers: 2,
        },
      },
      {
        // Whole clusters of processes, which would only measure who else is on the cores: last, and one at a time.
        extends: true,
        test: {
          name: 'faults',
          include: [FAULTS],
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    reporters: process.env['CI'] ? ['default', './test/support/totals-reporter.ts'] : ['default'],
  },
})

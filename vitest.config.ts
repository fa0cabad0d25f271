// One vitest set-up for every folder of test/: real peers and several processes share two cores, so files run in few workers.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    reporters: process.env['CI'] ? ['default', './test/support/totals-reporter.ts'] : ['default'],
  },
})

/** Prints the closing line of totals that CI reads: `N passed, N failed`, and before it which test processes died. */
import type { Reporter, TestModule } from 'vitest/node'
import { TEST_PROCESS_DIED } from './named-forks.ts'

export default class TotalsReporter implements Reporter {
  readonly #died: string[] = []

  constructor() {
    process.on(TEST_PROCESS_DIED, (said: string) => this.#died.push(said))
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0 }
    for (const module of modules) {
      let ran = 0
      for (const test of module.children.allTests()) {
        const state = test.result().state
        if (state !== 'pending') count[state] += 1
        ran += 1
      }
      if (ran === 0 && module.state() === 'failed') count.failed += 1
    }
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : ''
    for (const said of this.#died) process.stdout.write(`\n${said}\n`)
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed${skipped}\n`)
  }
}

/**
 * Prints the closing line of totals that CI reads: `N passed, N failed`, and before it which test processes died and how. When
 * that is all that failed, `POSTERN_DIED` (a file) is left behind with the test files to run again and the totals so far, to
 * which the second run adds its own (`.ci/run`).
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Reporter, TestModule } from 'vitest/node'
import { TEST_PROCESS_DIED, type Death } from './named-forks.ts'

interface Totals {
  passed: number
  failed: number
  skipped: number
}
/** What one run leaves to the next. */
interface Before extends Totals {
  readonly files: readonly string[]
}

function totalsOf(modules: readonly TestModule[], errors: number): Totals {
  const count = { passed: 0, failed: errors, skipped: 0 }
  for (const module of modules) {
    let ran = 0
    for (const test of module.children.allTests()) {
      const state = test.result().state
      if (state !== 'pending') count[state] += 1
      ran += 1
    }
    if (ran === 0 && module.state() === 'failed') count.failed += 1
  }
  return count
}

export default class TotalsReporter implements Reporter {
  readonly #deaths: Death[] = []

  constructor() {
    process.on(TEST_PROCESS_DIED, (death: Death) => this.#deaths.push(death))
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = totalsOf(modules, errors.length)
    const file = process.env['POSTERN_DIED']
    if (file && existsSync(file)) {
      const before = JSON.parse(readFileSync(file, 'utf8')) as Before
      rmSync(file)
      count.passed += before.passed
      count.skipped += before.skipped
    }
    for (const { files, how, lastWords } of this.#deaths)
      process.stdout.write(`\nDIED: the process of ${files.join(', ')}: ${how}\n${lastWords()}\n`)
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : ''
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed${skipped}\n`)
    if (file && this.#deaths.length > 0 && count.failed === this.#deaths.length)
      this.#leave(file, modules, count)
  }

  #leave(file: string, modules: readonly TestModule[], count: Totals): void {
    const files = this.#deaths.flatMap((death) => death.files)
    // Only what ended counts: a file that died is counted by the run that repeats it.
    const lost = totalsOf(
      modules.filter((module) => files.includes(module.relativeModuleId)),
      0,
    )
    const before: Before = {
      files,
      passed: count.passed - lost.passed,
      failed: 0,
      skipped: count.skipped - lost.skipped,
    }
    writeFileSync(file, JSON.stringify(before))
  }
}

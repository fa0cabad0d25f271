/** Ending `up`: what was started is ended in reverse order, whatever happens on the way. */
import { reasonOf } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import type { Cli } from '../cli.ts'

export interface Closer {
  push(close: () => unknown): void
  run(cli: Cli): Promise<void>
}

export function closer(): Closer {
  const steps: (() => unknown)[] = []
  return {
    push: (close) => void steps.push(close),
    async run(cli) {
      for (let step = steps.pop(); step; step = steps.pop()) {
        try {
          await step()
        } catch (e) {
          cli.note(`while stopping: ${reasonOf(e)}`)
        }
      }
    },
  }
}

/** Resolves at the first SIGINT, SIGTERM or SIGHUP; a second one ends the process at once. */
export function untilStopped(log: Log): Promise<void> {
  return new Promise((resolve) => {
    let asked = false
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        if (asked) process.exit(130)
        asked = true
        log.info('process.signal', { signal })
        resolve()
      })
  })
}

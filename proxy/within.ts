/** A promise with a deadline, for calls that have none of their own. What comes too late is dropped. */
import type { Clock } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'

/** Rejects with ERR_TIMEOUT after `ms`. */
export function within<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => reject(new AppError('ERR_TIMEOUT')))
    const done = (): void => timer.cancel()
    work.then(resolve, reject)
    work.then(done, done)
  })
}

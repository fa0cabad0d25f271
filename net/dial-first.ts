/**
 * One of several addresses, whichever answers first. The next is tried when one fails, and also when one merely takes its time: a
 * proxy behind a network that swallows everything must not cost a whole dial timeout (RFC 8305 does the same for addresses of one
 * host).
 */
import { AppError, toAppError } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'

export interface DialFirstOptions<T> {
  readonly addresses: readonly string[]
  /** The signal ends the attempt. */
  dial(address: string, signal: AbortSignal): Promise<T>
  /** It came after another one: end it. */
  discard(late: T): void
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** Rejects when all failed: with what must be changed rather than repeated, if any said so, else with the last. */
export function dialFirst<T>(options: DialFirstOptions<T>): Promise<T> {
  const { addresses, clock, signal } = options
  const over = new AbortController()
  const both = AbortSignal.any([signal, over.signal])
  return new Promise<T>((resolve, reject) => {
    let next = 0
    let running = 0
    let done = false
    let worst: AppError | undefined
    let timer = clock.after(0, () => undefined)

    const fail = (error: AppError): void => {
      done = true
      timer.cancel()
      reject(error)
    }
    const start = (): void => {
      timer.cancel()
      const address = addresses[next++]
      if (done || address === undefined) {
        if (!done && running === 0) fail(worst ?? new AppError('ERR_UNREACHABLE'))
        return
      }
      running += 1
      timer = clock.after(LIMITS.dialStagger.value, start)
      options.dial(address, both).then(
        (made) => {
          if (done) return options.discard(made)
          done = true
          timer.cancel()
          over.abort(new AppError('ERR_TUNNEL_CLOSED', 'another address was quicker'))
          resolve(made)
        },
        (e: unknown) => {
          running -= 1
          const error = toAppError(e)
          if (done) return
          if (signal.aborted) return fail(error)
          if (!worst || worst.kind.retryable) worst = error
          start()
        },
      )
    }
    start()
  })
}

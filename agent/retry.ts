/**
 * The retry policy for calls that must succeed in the end: full jitter between tries, for as long as the error may go away by
 * itself. What the caller must change (a refused token) is not tried again.
 */
import { sleep, type Clock } from '../core/clock.ts'
import { toAppError, type AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'

export interface RetryOptions {
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
  /** Told of each failure that will be tried again, with the pause before the next try. */
  onRetry?: ((error: AppError, pause: number) => void) | undefined
  /** Longest pause after this error, ms. Default: LIMITS.backoffMax. */
  longest?: ((error: AppError) => number | undefined) | undefined
  /** Default: what the table of errors calls not retryable. */
  isFatal?: ((error: AppError) => boolean) | undefined
}

/** Milliseconds before try number `attempt` (1 = the first repeat). */
export function backoff(attempt: number, random: Random): number {
  const top = Math.min(LIMITS.backoffMax.value, LIMITS.backoffMin.value * 2 ** (attempt - 1))
  return Math.round(top * (0.1 + 0.9 * random.float()))
}

/** Rejects with a fatal error or with the signal's reason. */
export async function retrying<T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { clock, random, signal } = options
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted()
    try {
      return await attempt(signal)
    } catch (e) {
      if (signal.aborted) throw signal.reason
      const error = toAppError(e)
      if (options.isFatal?.(error) ?? !error.kind.retryable) throw error
      const asked = (error.details?.retryAfter ?? 0) * 1000
      const pause = Math.min(
        Math.max(backoff(tries, random), Math.min(asked, LIMITS.backoffMax.value)),
        options.longest?.(error) ?? LIMITS.backoffMax.value,
      )
      options.onRetry?.(error, pause)
      await sleep(clock, pause, signal)
    }
  }
}

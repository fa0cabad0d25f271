/** How long to wait before trying again: full jitter, so that ten thousand agents do not come back in the same second. */
import type { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'

/** Milliseconds before try number `attempt` (the first retry is 0). A server that named a time is believed. */
export function backoff(attempt: number, error: AppError | undefined, random: Random): number {
  const ceiling = Math.min(
    LIMITS.backoffMax.value,
    LIMITS.backoffMin.value * 2 ** Math.min(attempt, 16),
  )
  const jittered = random.float() * ceiling
  const asked = Math.min((error?.details?.retryAfter ?? 0) * 1000, LIMITS.goAwayMax.value)
  return asked + jittered
}

/** How long to wait before trying again: full jitter, so that ten thousand agents do not come back in the same second. */
import type { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'

/** Jitter on a time that a server named, ms: it has none of its own, but knows better than we when there is room. */
const ASKED_JITTER = 1000

/**
 * Milliseconds before try number `attempt` (the first retry is 0). A server that named a time is believed: what our own tries
 * would make us wait is not added, or an agent would miss the time that was kept for it.
 */
export function backoff(attempt: number, error: AppError | undefined, random: Random): number {
  const ceiling = Math.min(
    LIMITS.backoffMax.value,
    LIMITS.backoffMin.value * 2 ** Math.min(attempt, 16),
  )
  const asked = Math.min((error?.details?.retryAfter ?? 0) * 1000, LIMITS.goAwayMax.value)
  return asked + random.float() * (asked > 0 ? Math.min(ceiling, ASKED_JITTER) : ceiling)
}

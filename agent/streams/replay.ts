/** Offers are good once: what was seen is remembered until it could not be accepted any more anyway. */
import type { Clock, Instant } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'

export interface ReplayGuard {
  /** fresh: seen for the first time, and remembered now · seen · full: too many are remembered, so it cannot be told. */
  first(id: string, until: Instant): 'fresh' | 'seen' | 'full'
}

export function createReplayGuard(
  clock: Clock,
  max: number = LIMITS.offersRemembered.value,
): ReplayGuard {
  const seen = new Map<string, Instant>()
  let nextSweep = 0
  const sweep = (): void => {
    const now = clock.now()
    for (const [id, until] of seen) if (until <= now) seen.delete(id)
    nextSweep = now + 10_000
  }
  return {
    first(id, until) {
      if (clock.now() >= nextSweep) sweep()
      if (seen.has(id)) return 'seen'
      if (seen.size >= max) sweep()
      if (seen.size >= max) return 'full'
      seen.set(id, until)
      return 'fresh'
    },
  }
}

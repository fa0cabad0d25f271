/**
 * Token buckets in this process, for what anyone may call. Behind several functions each has its own buckets: a flood is slowed
 * by as many times as there are of them, which is what concurrency limits bound.
 */
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { sourceKey } from '../../core/source-address.ts'

/** `anonymous`: an address; `login`: a user name; `caller`: who proved to be it; `token`: a join token. */
type RateScope = 'anonymous' | 'login' | 'caller' | 'token'

export interface RateLimiter {
  /** Takes one from the bucket `scope` of `key`; throws ERR_RATE_LIMITED with retryAfter when it is empty. */
  take(scope: RateScope, key: string): void
}

interface Bucket {
  level: number
  at: number
}

const PER_MINUTE = {
  anonymous: LIMITS.rateAnonymousPerMinute.value,
  login: LIMITS.rateLoginPerMinute.value,
  caller: LIMITS.rateCallerPerMinute.value,
  token: LIMITS.rateTokenPerMinute.value,
} as const satisfies Record<RateScope, number>

export function createRateLimiter(
  clock: Clock,
  maxKeys: number = LIMITS.rateKeys.value,
): RateLimiter {
  const buckets = new Map<string, Bucket>()
  return {
    take(scope, key) {
      const perMinute = PER_MINUTE[scope]
      const id = `${scope}\0${scope === 'anonymous' ? sourceKey(key) : key}`
      const now = clock.monotonic()
      const known = buckets.get(id)
      const level = known
        ? Math.min(perMinute, known.level + ((now - known.at) * perMinute) / 60_000)
        : perMinute
      if (level < 1) {
        const retryAfter = Math.max(1, Math.ceil(((1 - level) * 60) / perMinute))
        throw new AppError('ERR_RATE_LIMITED', undefined, { details: { retryAfter } })
      }
      // Insertion order is the order of use, so the first key is the one unused for longest.
      buckets.delete(id)
      buckets.set(id, { level: level - 1, at: now })
      const oldest = buckets.keys().next()
      if (buckets.size > maxKeys && !oldest.done) buckets.delete(oldest.value)
    },
  }
}

/** Times as people read them: how long ago, how long still. */
import type { Instant } from '../../core/clock.ts'
import { formatDuration } from '../../core/duration.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** Two units at most say enough: 3d4h, 12h30m, 40s. */
function coarse(ms: number): string {
  const unit = ms >= 24 * HOUR ? HOUR : ms >= 10 * MINUTE ? MINUTE : SECOND
  return formatDuration(Math.round(ms / unit) * unit)
}

export const ago = (at: number, now: Instant): string =>
  now - at < SECOND ? 'just now' : `${coarse(now - at)} ago`
export const inTime = (at: number, now: Instant): string =>
  at <= now ? 'expired' : `in ${coarse(at - now)}`

/** How long a tunnel on which traffic waits in silence is still hoped for (protocols.md 7.3). */
import type { Clock, Timer } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'
import type { Session } from '../core/tunnel/session.ts'

/**
 * Calls `giveUp` after 3 s or 8 round trips, whichever is longer, unless it is cancelled. In steps, with a look at the network
 * between two: a process that stood still itself, as a sleeping laptop's does, must read what came before it judges.
 */
export function hopeFor(session: Pick<Session, 'rtt'>, clock: Clock, giveUp: () => void): Timer {
  let left = Math.max(LIMITS.suspectGrace.value, Number.isFinite(session.rtt) ? 8 * session.rtt : 0)
  let over = false
  let timer: Timer | undefined
  const step = (): void => {
    if (over) return
    if (left <= 0) return giveUp()
    const ms = Math.min(left, LIMITS.suspectAfter.value)
    left -= ms
    timer = clock.after(ms, () => void setImmediate(step))
  }
  step()
  return {
    cancel() {
      over = true
      timer?.cancel()
    },
  }
}

/**
 * When a peer that is refused for lack of room may come again. Each gets an appointment of its own, as far apart as handshakes
 * were done lately, so that ten thousand that come at once come back one after the other and not all in two seconds.
 */
import type { Clock } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'

export interface Pacer {
  /** A handshake is over, well or not. */
  finished(): void
  /** Seconds, whole: retry-after has no fractions. */
  appointment(): number
}

/** Handshakes per second that any machine does: an idle proxy has no better measure. */
const RATE_MIN = 100
/** Weight of the newest second in the mean. */
const NEWEST = 0.3

export function createPacer(clock: Pick<Clock, 'monotonic'>): Pacer {
  let rate = 0
  let since = clock.monotonic()
  let done = 0
  let next = 0

  /** Handshakes per second, a moving mean over seconds in which there were any. */
  function measure(now: number): void {
    if (now - since < 1000) return
    const measured = (done * 1000) / (now - since)
    if (done > 0) rate = rate === 0 ? measured : rate + (measured - rate) * NEWEST
    since = now
    done = 0
  }

  return {
    finished() {
      measure(clock.monotonic())
      done += 1
    },
    appointment() {
      const now = clock.monotonic()
      measure(now)
      const earliest = now + LIMITS.paceMin.value
      const latest = now + LIMITS.paceMax.value
      next = Math.max(next, earliest) + 1000 / Math.max(rate, RATE_MIN)
      // More than fit into the span begin again at its start: they will be refused once more, but none waits for ever.
      if (next > latest) next = earliest
      return Math.ceil((next - now) / 1000)
    },
  }
}

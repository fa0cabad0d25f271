/**
 * Whoever started this process may be killed without a word, and what reads and writes its pipes with it. A stream that waits for
 * the network would be held for its whole resume window, for nobody.
 */
import type { Clock, Timer } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'

/** Between two looks, ms: the system tells a process of its child's end, and not of its parent's. */
const LOOK = 1000

/**
 * Calls back, once, LIMITS.lastWords after the parent that is there now is gone: until then its last bytes may be delivered.
 * `parent`: the process id of the parent, now.
 */
export function whenOrphaned(parent: () => number, clock: Clock, fn: () => void): Timer {
  const first = parent()
  let grace: Timer | undefined
  const look = clock.every(LOOK, () => {
    if (parent() === first) return
    look.cancel()
    grace = clock.after(LIMITS.lastWords.value, fn)
  })
  return {
    cancel() {
      look.cancel()
      grace?.cancel()
    },
  }
}

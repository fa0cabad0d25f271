/**
 * One resumable stream's part of the process's memory for unacknowledged bytes: what it may keep to send again, and what it
 * lets the peer send before its owner takes it. Both begin at replayMin, which needs no budget, and grow in steps.
 */
import { LIMITS } from '../limits.ts'
import type { WindowBudget } from './window-budget.ts'

const STEP = 256 * 1024

export interface ReplayShare {
  /** Bytes the peer may have on the way to us. */
  readonly window: number
  /** Twice the window, while there is room. */
  growWindow(): void
  /** How many bytes may be kept to be sent again, with the wish to keep at least `bytes`. */
  allow(bytes: number): number
  release(): void
}

export function createReplayShare(budget: WindowBudget): ReplayShare {
  const min = LIMITS.replayMin.value
  const max = LIMITS.replayBuffer.value
  let kept: number = min
  let released = false
  const grown = (size: number, by: number): number =>
    released ? size : size + budget.take(Math.min(by, max - size))
  let window = grown(min, LIMITS.windowInitial.value - min)
  return {
    get window() {
      return window
    },
    growWindow() {
      window = grown(window, window)
    },
    allow(bytes) {
      while (kept < bytes && kept < max) {
        const before = kept
        kept = grown(kept, STEP)
        if (kept === before) break
      }
      return kept
    },
    release() {
      if (released) return
      released = true
      budget.give(window - min + (kept - min))
    },
  }
}

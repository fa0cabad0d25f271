/**
 * How much the peer may send before we consume: one window per stream, their sum capped per connection and per process.
 *
 * A new stream gets windowInitial while there is room, less when it is crowded, never under windowMin. A window doubles
 * when a quarter of it passes within one unloaded round trip, because then the window and not the path is what limits
 * (bandwidth-delay product), and never takes more than half of the room that is left.
 */
import type { TunnelLimits } from './tunnel-limits.ts'
import type { WindowBudget } from './window-budget.ts'

/** New streams take at most this share of the room, so that room never runs out at once. */
const SHARE = 8
const PROCESS_SHARE = 64

export interface ReceiveWindows {
  /** The window of a new stream, or undefined when not even the smallest fits. */
  admit(): number | undefined
  /** By how much a window of this size may grow now (0: not at all). */
  grow(size: number): number
  /** A stream closed: its window is free again. */
  release(size: number): void
}

export function createReceiveWindows(limits: TunnelLimits, budget: WindowBudget): ReceiveWindows {
  const { windowMin, windowInitial, windowMax, windowConnection, streamsPerTunnel } = limits
  let used = 0
  let count = 0
  /** What is left above the reserve that lets every stream still to come have its minimum. */
  const room = () =>
    Math.max(0, windowConnection - used - windowMin * Math.max(0, streamsPerTunnel - count))
  return {
    admit() {
      if (used + windowMin > windowConnection) return undefined
      const wish = Math.min(
        windowInitial - windowMin,
        Math.floor(room() / SHARE),
        Math.floor(budget.left / PROCESS_SHARE),
      )
      const size = windowMin + budget.take(wish)
      used += size
      count++
      return size
    },
    grow(size) {
      const half = Math.floor(Math.min(room(), budget.left) / 2)
      const added = budget.take(Math.min(size, windowMax - size, half))
      used += added
      return added
    },
    release(size) {
      used -= size
      count--
      budget.give(size - windowMin)
    },
  }
}

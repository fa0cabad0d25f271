/** A clock that moves only when told to. */
import { instant, plus, type Clock, type Instant, type Timer } from '../../core/clock.ts'

export interface HandClock extends Clock {
  /** Moves time on, running every timer that falls due, in order. */
  advance(ms: number): void
  /**
   * Moves time on at once, as it passes for a machine that stood still: what fell due meanwhile runs now, and what is due every so
   * often runs once. Returns how many timers ran.
   */
  leap(ms: number): number
  /** Milliseconds until the next timer is due; Infinity without one. */
  readonly next: number
  /** Sets the wall clock without running timers, as a machine whose clock is wrong would. */
  set(at: Instant): void
}

export function handClock(start = Date.UTC(2026, 10, 23, 12, 0, 0)): HandClock {
  let wall: Instant = instant(start)
  let mono = 0
  let changed = false
  const timers = new Set<{ due: number; every: number | undefined; fn: () => void }>()
  const add = (ms: number, fn: () => void, every?: number): Timer => {
    const t = { due: mono + ms, every, fn }
    timers.add(t)
    changed = true
    return { cancel: () => void timers.delete(t) }
  }
  return {
    now: () => wall,
    monotonic: () => mono,
    after: (ms, fn) => add(ms, fn),
    every: (ms, fn) => add(ms, fn, ms),
    set: (at) => {
      wall = at
    },
    get next() {
      let next = Infinity
      for (const t of timers) next = Math.min(next, t.due - mono)
      return next
    },
    leap(ms) {
      wall = plus(wall, ms)
      mono += ms
      const due = [...timers].filter((t) => t.due <= mono).sort((a, b) => a.due - b.due)
      let ran = 0
      for (const t of due) {
        if (!timers.has(t)) continue
        ran += 1
        if (t.every === undefined) timers.delete(t)
        else t.due = mono + t.every
        t.fn()
      }
      return ran
    },
    advance(ms) {
      const end = mono + ms
      // In order, and once more from the start whenever one of them set another: ten thousand are sorted once, not each time.
      do {
        changed = false
        const due = [...timers].filter((t) => t.due <= end).sort((a, b) => a.due - b.due)
        for (const t of due) {
          if (!timers.has(t)) continue
          wall = plus(wall, t.due - mono)
          mono = t.due
          if (t.every === undefined) timers.delete(t)
          else {
            t.due += t.every
            changed = true
          }
          t.fn()
          if (changed) break
        }
      } while (changed)
      wall = plus(wall, end - mono)
      mono = end
    },
  }
}

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
  const timers = new Set<{ due: number; every: number | undefined; fn: () => void }>()
  const add = (ms: number, fn: () => void, every?: number): Timer => {
    const t = { due: mono + ms, every, fn }
    timers.add(t)
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
      for (;;) {
        const next = [...timers].filter((t) => t.due <= end).sort((a, b) => a.due - b.due)[0]
        if (!next) break
        wall = plus(wall, next.due - mono)
        mono = next.due
        if (next.every === undefined) timers.delete(next)
        else next.due += next.every
        next.fn()
      }
      wall = plus(wall, end - mono)
      mono = end
    },
  }
}

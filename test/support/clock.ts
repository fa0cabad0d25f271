/** A clock that moves only when told to. */
import { instant, plus, type Clock, type Instant, type Timer } from '../../core/clock.ts'

export interface HandClock extends Clock {
  /** Moves time on, running every timer that falls due, in order. */
  advance(ms: number): void
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

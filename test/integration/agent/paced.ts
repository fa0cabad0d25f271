/** Real sockets on a clock that is moved by hand: while something is waited for, time passes as it does outside. */
import type { HandClock } from '../../support/clock.ts'

const LEAST = 5

export async function during<T>(clock: HandClock, work: Promise<T>): Promise<T> {
  let done = false
  const over = work.finally(() => (done = true))
  over.catch(() => undefined)
  let then = performance.now()
  while (!done) {
    await new Promise<void>((resolve) => setImmediate(resolve))
    const now = performance.now()
    if (now - then < LEAST) continue
    clock.advance(Math.round(now - then))
    then = now
  }
  return over
}

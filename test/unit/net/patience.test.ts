// How long a silent tunnel is hoped for: three seconds or eight round trips, and never on the word of a process that slept itself.
import { expect, test } from 'vitest'
import { hopeFor } from '../../../net/patience.ts'
import { handClock } from '../../support/clock.ts'

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

function hope(rtt: number) {
  const clock = handClock()
  const began = clock.monotonic()
  let gaveUp: number | undefined
  const timer = hopeFor({ rtt }, clock, () => (gaveUp = clock.monotonic() - began))
  return {
    clock,
    timer,
    gaveUp: () => gaveUp,
    /** Time passes as it does for a process that runs: the event loop turns in between. */
    async pass(ms: number) {
      for (let left = ms; left > 0; left -= 100) {
        clock.advance(Math.min(left, 100))
        await turn()
      }
    },
  }
}

test.each([
  ['before the first answer', Infinity, 3_000],
  ['over a short path', 20, 3_000],
  ['over a long path', 1_000, 8_000],
])('%s: given up after the longer of the two', async (_, rtt, after) => {
  const w = hope(rtt)
  await w.pass(after - 100)
  expect(w.gaveUp()).toBeUndefined()
  await w.pass(100)
  expect(w.gaveUp()).toBe(after)
})

test('cancelled, it gives nothing up', async () => {
  const w = hope(20)
  await w.pass(2_000)
  w.timer.cancel()
  await w.pass(20_000)
  expect(w.gaveUp()).toBeUndefined()
})

test('an hour of sleep counts as one step: what came meanwhile is read first', async () => {
  const w = hope(20)
  w.clock.advance(3_600_000)
  expect(w.gaveUp()).toBeUndefined()
  await turn()
  w.timer.cancel()
  await w.pass(10_000)
  expect(w.gaveUp()).toBeUndefined()
})

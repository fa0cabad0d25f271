// A ProxyCommand whose ssh was killed: its last bytes get their time, and then it ends.
import { expect, test } from 'vitest'
import { whenOrphaned } from '../../../cli/connect/parent.ts'
import { LIMITS } from '../../../core/limits.ts'
import { handClock } from '../../support/clock.ts'

test('it is told once, a while after the parent has changed, and not while it is the same', () => {
  const clock = handClock()
  let [parent, told] = [42, 0]
  whenOrphaned(
    () => parent,
    clock,
    () => (told += 1),
  )
  clock.advance(60_000)
  expect(told).toBe(0)
  parent = 1
  clock.advance(1_000)
  clock.advance(LIMITS.lastWords.value - 1)
  expect(told).toBe(0)
  clock.advance(1)
  expect(told).toBe(1)
  clock.advance(60_000)
  expect(told).toBe(1)
})

test.each([0, 1_500])('cancelled %s ms after the parent has gone, it tells nobody', (ms) => {
  const clock = handClock()
  let [parent, told] = [42, 0]
  const timer = whenOrphaned(
    () => parent,
    clock,
    () => (told += 1),
  )
  parent = 1
  clock.advance(ms)
  timer.cancel()
  clock.advance(60_000)
  expect(told).toBe(0)
})

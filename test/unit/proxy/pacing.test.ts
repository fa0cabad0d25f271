// Ten thousand that are refused at once come back one after the other.
import { expect, test } from 'vitest'
import { LIMITS } from '../../../core/limits.ts'
import { createPacer } from '../../../proxy/pacing.ts'
import { handClock } from '../../support/clock.ts'

test('the first comes back at the earliest, and no second gets more than are done in one', () => {
  const pacer = createPacer(handClock())
  const times = Array.from({ length: 4000 }, () => pacer.appointment())
  expect(times[0]).toBe(2)
  const perSecond = new Map<number, number>()
  for (const t of times) perSecond.set(t, (perSecond.get(t) ?? 0) + 1)
  expect(Math.max(...perSecond.values())).toBeLessThanOrEqual(101)
  expect(Math.max(...times)).toBeLessThanOrEqual(LIMITS.paceMax.value / 1000)
})

test('a proxy that does 500 handshakes a second gives 500 appointments for each', () => {
  const clock = handClock()
  const pacer = createPacer(clock)
  for (let second = 0; second < 10; second++) {
    for (let i = 0; i < 500; i++) pacer.finished()
    clock.advance(1000)
  }
  const times = Array.from({ length: 10_000 }, () => pacer.appointment())
  const in10 = times.filter((t) => t === 10).length
  expect(in10).toBeGreaterThan(450)
  expect(in10).toBeLessThan(550)
  expect(Math.max(...times)).toBeLessThan(25)
})

test('seconds in which nothing happened do not make it slow', () => {
  const clock = handClock()
  const pacer = createPacer(clock)
  for (let i = 0; i < 1000; i++) pacer.finished()
  clock.advance(1000)
  pacer.appointment()
  clock.advance(3_600_000)
  const times = Array.from({ length: 1000 }, () => pacer.appointment())
  expect(Math.max(...times)).toBeLessThanOrEqual(3)
})

test('more than fit into the longest wait begin again: none waits for ever', () => {
  const pacer = createPacer(handClock())
  const times = Array.from({ length: 20_000 }, () => pacer.appointment())
  expect(Math.max(...times)).toBe(LIMITS.paceMax.value / 1000)
})

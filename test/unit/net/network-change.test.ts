import { expect, test } from 'vitest'
import { onNetworkChange } from '../../../net/network-change.ts'
import { handClock } from '../../support/clock.ts'

test('every change is told once, in seconds; nothing is told when nothing changes or nobody listens', () => {
  const clock = handClock()
  let at = '192.0.2.7'
  let told = 0
  const stop = onNetworkChange(
    clock,
    () => (told += 1),
    () => at,
  )
  clock.advance(60_000)
  expect(told).toBe(0)
  at = '198.51.100.9'
  clock.advance(2000)
  expect(told).toBe(1)
  clock.advance(60_000)
  expect(told).toBe(1)
  at = '192.0.2.7'
  clock.advance(2000)
  expect(told).toBe(2)
  stop()
  at = ''
  clock.advance(60_000)
  expect(told).toBe(2)
})

test('this machine as it is does not change by being looked at', () => {
  const clock = handClock()
  let told = 0
  const stop = onNetworkChange(clock, () => (told += 1))
  clock.advance(10_000)
  stop()
  expect(told).toBe(0)
})

/** Token buckets: a burst, then the rate, each key for itself, memory bounded. */
import { expect, test } from 'vitest'
import { createRateLimiter } from '../../../functions/middleware/rate-limit.ts'
import { handClock } from '../../support/clock.ts'

const drain = (take: () => void): number => {
  for (let n = 0; ; n++)
    try {
      take()
    } catch {
      return n
    }
}

test('a bucket gives its burst, then refills with time', () => {
  const clock = handClock()
  const limiter = createRateLimiter(clock)
  expect(drain(() => limiter.take('login', 'ann'))).toBe(20)
  clock.advance(3_000)
  expect(drain(() => limiter.take('login', 'ann'))).toBe(1)
  clock.advance(3_600_000)
  expect(drain(() => limiter.take('login', 'ann'))).toBe(20)
})

test('the refusal says when to come back', () => {
  const limiter = createRateLimiter(handClock())
  drain(() => limiter.take('login', 'ann'))
  expect(() => limiter.take('login', 'ann')).toThrow(
    expect.objectContaining({ code: 'ERR_RATE_LIMITED', details: { retryAfter: 3 } }),
  )
})

test('one key does not slow another, nor one scope the other', () => {
  const limiter = createRateLimiter(handClock())
  drain(() => limiter.take('login', 'ann'))
  expect(drain(() => limiter.take('login', 'bob'))).toBe(20)
  expect(drain(() => limiter.take('anonymous', 'ann'))).toBe(600)
})

test('a wall clock that jumps changes nothing', () => {
  const clock = handClock()
  const limiter = createRateLimiter(clock)
  drain(() => limiter.take('login', 'ann'))
  clock.set((clock.now() + 1e9) as never)
  expect(drain(() => limiter.take('login', 'ann'))).toBe(0)
})

test('a flood of keys forgets the one unused for longest, never more than the limit stays', () => {
  const limiter = createRateLimiter(handClock(), 100)
  drain(() => limiter.take('login', 'victim'))
  for (let i = 0; i < 99; i++) limiter.take('login', `key-${i}`)
  expect(drain(() => limiter.take('login', 'victim'))).toBe(0)
  for (let i = 0; i < 100; i++) limiter.take('login', `more-${i}`)
  expect(drain(() => limiter.take('login', 'victim'))).toBe(20)
})

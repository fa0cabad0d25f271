// Ten thousand agents lose their proxy at once: how many of them ask the control plane where proxies are, and when.
import { expect, test } from 'vitest'
import { createLookUp, type LookUp } from '../../../agent/look-up.ts'
import { AppError } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { handClock } from '../../support/clock.ts'

const AGENTS = 10_000
const lost = { error: new AppError('ERR_TUNNEL_CLOSED'), leaving: false }
const unreachable = { error: new AppError('ERR_UNREACHABLE'), leaving: false }

function fleet(agents = AGENTS) {
  const clock = handClock()
  const abort = new AbortController()
  const asked: number[] = []
  const all: LookUp<string>[] = Array.from({ length: agents }, () =>
    createLookUp({
      clock,
      random: systemRandom,
      signal: abort.signal,
      ask: () => void asked.push(clock.monotonic()),
    }),
  )
  return { clock, abort, asked, all }
}

test('a proxy that is back within five seconds: nobody asks', () => {
  const { clock, asked, all } = fleet()
  for (const one of all) {
    one.lost('first', lost)
    one.lost('first', unreachable)
  }
  clock.advance(LIMITS.lookUpAfter.value - 1)
  for (const one of all) one.connected('first', true)
  clock.advance(120_000)
  expect(asked).toEqual([])
})

test('a proxy that answers and has no room yet: nobody asks', () => {
  const { clock, asked, all } = fleet()
  for (const one of all) {
    one.lost('first', lost)
    one.lost('first', { error: new AppError('ERR_PROXY_BUSY'), leaving: false })
  }
  clock.advance(120_000)
  expect(asked).toEqual([])
})

test('a proxy that does not come back: everybody asks once, spread over half a minute', () => {
  const { clock, asked, all } = fleet()
  for (const one of all)
    for (let tries = 0; tries < 5; tries++) one.lost('first', tries === 0 ? lost : unreachable)
  clock.advance(LIMITS.lookUpAfter.value + LIMITS.lookUpSpread.value)
  expect(asked).toHaveLength(AGENTS)
  const perSecond = new Map<number, number>()
  for (const at of asked) {
    const second = Math.floor(at / 1000)
    perSecond.set(second, (perSecond.get(second) ?? 0) + 1)
  }
  // Even would be 400; twice that is more than 19 standard deviations away.
  expect(Math.max(...perSecond.values())).toBeLessThan(800)
  expect(Math.min(...asked)).toBeGreaterThanOrEqual(LIMITS.lookUpAfter.value)
})

test('one leg of two: asked for another proxy unless both stand again', () => {
  const { clock, asked, all } = fleet(1)
  all[0]?.lost('second', lost)
  all[0]?.connected('first', false)
  clock.advance(LIMITS.lookUpAfter.value + LIMITS.lookUpSpread.value)
  expect(asked).toHaveLength(1)
})

test('a proxy that leaves: the others that are known are tried first, and if none takes it the question is asked at once', () => {
  const { asked, all } = fleet(2)
  for (const one of all) one.lost('first', { error: undefined, leaving: true })
  expect(asked).toEqual([])
  all[0]?.connected('first', true)
  all[0]?.lost('first', { error: new AppError('ERR_LOCKED'), leaving: false })
  all[1]?.lost('first', { error: new AppError('ERR_PROXY_BUSY'), leaving: false })
  expect(asked).toHaveLength(1)
})

test('an agent that stops asks no more', () => {
  const { clock, abort, asked, all } = fleet(1)
  all[0]?.lost('first', lost)
  all[0]?.doubted(2)
  abort.abort()
  clock.advance(120_000)
  expect(asked).toEqual([])
  expect(clock.next).toBe(Infinity)
})

test('a proxy is added and all agents are told in one moment: everybody asks once, spread evenly and no faster with more proxies', () => {
  for (const proxies of [2, 8]) {
    const { clock, asked, all } = fleet()
    // By each of its proxies, and once more because dials lead to the same.
    for (const one of all) for (let times = 0; times < 3; times++) one.doubted(proxies)
    const window = LIMITS.lookUpMore.value * proxies
    clock.advance(window)
    expect(asked).toHaveLength(AGENTS)
    const perSecond = new Map<number, number>()
    for (const at of asked) {
      const second = Math.floor(at / 1000)
      perSecond.set(second, (perSecond.get(second) ?? 0) + 1)
    }
    const even = (AGENTS * 1000) / window
    // With 250 in a second on the average, half as much again is nearly 8 standard deviations away.
    expect(Math.max(...perSecond.values())).toBeLessThan(1.5 * even)
    expect(perSecond.size).toBeGreaterThanOrEqual(window / 1000)
  }
})

test('being connected does not take the question away: the list is behind all the same', () => {
  const { clock, asked, all } = fleet(1)
  all[0]?.doubted(2)
  all[0]?.connected('first', true)
  clock.advance(LIMITS.lookUpMore.value * 2)
  expect(asked).toHaveLength(1)
  // And later news is a question of its own.
  all[0]?.doubted(3)
  clock.advance(LIMITS.lookUpMore.value * 3)
  expect(asked).toHaveLength(2)
})

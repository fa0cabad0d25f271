// A second tunnel that keeps landing where the first one is: when it dials again, and when it doubts its list of proxies.
import { expect, test } from 'vitest'
import { createLegs } from '../../../agent/legs.ts'
import { createSamePause } from '../../../agent/same-proxy.ts'
import { AppError } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import { keepConnected, type ConnectionState } from '../../../net/reconnect.ts'
import { handClock } from '../../support/clock.ts'
import { offers } from '../../support/streams.ts'

const random = { bytes: (n: number) => Buffer.alloc(n), float: () => 0.999 }
const same = new AppError('ERR_TUNNEL_ALREADY_HERE')
const down = new AppError('ERR_UNREACHABLE')

/** A leg whose dials end as told, one after the other; the answer is each pause, and how often the list was doubted by then. */
async function dials(outcomes: readonly AppError[]): Promise<{ pause: number; doubts: number }[]> {
  const clock = handClock()
  const stop = new AbortController()
  const { second } = createLegs()
  const states = offers<ConnectionState>()
  let doubts = 0
  const pauseAtSame = createSamePause({ random, doubted: () => void (doubts += 1) })
  const left = [...outcomes]
  const over = keepConnected({
    connect: () => Promise.reject(left.shift() ?? down),
    clock,
    random,
    signal: stop.signal,
    onState: (state) => state.state === 'waiting' && states.push(state),
    pause: (_attempt, error) => pauseAtSame(second, error),
  })
  const seen: { pause: number; doubts: number }[] = []
  while (seen.length < outcomes.length) {
    const state = await states.next()
    if (state.state !== 'waiting') continue
    seen.push({ pause: Math.round(state.retryIn), doubts })
    // The pause begins in the turn after it was told.
    await new Promise((resolve) => setImmediate(resolve))
    clock.advance(state.retryIn)
  }
  stop.abort()
  await over
  return seen
}

test('two dials that land at one proxy may be chance; from the third on the list is doubted', async () => {
  const seen = await dials(Array<AppError>(5).fill(same))
  expect(seen.map(({ doubts }) => doubts)).toEqual([0, 0, 1, 2, 3])
})

test('it dials on with a growing pause, and after six once a minute, asking no more', async () => {
  const seen = await dials(Array<AppError>(9).fill(same))
  const pauses = seen.map(({ pause }) => pause)
  const min = LIMITS.backoffMin.value
  expect(pauses.slice(0, 6)).toEqual(
    [1, 2, 4, 8, 16, 32].map((n) => Math.round(0.999 * Math.min(n * min, LIMITS.backoffMax.value))),
  )
  for (const pause of pauses.slice(6)) {
    expect(pause).toBeGreaterThanOrEqual(30_000)
    expect(pause).toBeLessThanOrEqual(60_000)
  }
  expect(seen.map(({ doubts }) => doubts)).toEqual([0, 0, 1, 2, 3, 4, 4, 4, 4])
})

test('a dial that failed otherwise begins the count again', async () => {
  const seen = await dials([same, same, down, same, same, same])
  expect(seen.map(({ doubts }) => doubts)).toEqual([0, 0, 0, 0, 0, 1])
})

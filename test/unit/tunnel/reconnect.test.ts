// The retry policy alone, on a hand clock: when it tries again, when it stops, what it does with the old tunnel.
import { expect, test } from 'vitest'
import { AppError } from '../../../core/errors.ts'
import type { ConnId, ProxyId } from '../../../core/ids.ts'
import { keepConnected, type ConnectionState, type ReconnectHooks } from '../../../net/reconnect.ts'
import { backoff } from '../../../net/backoff.ts'
import { createSession } from '../../../core/tunnel/session.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { handClock } from '../../support/clock.ts'
import { memoryPair } from '../../support/transports.ts'
import { offers } from '../../support/streams.ts'

const random = { bytes: (n: number) => Buffer.alloc(n), float: () => 0.5 }

function world(
  connects: (attempt: number) => 'up' | AppError,
  isFatal?: (e: AppError) => boolean,
  covered?: () => boolean,
  awaited?: () => boolean,
) {
  const clock = handClock()
  const stop = new AbortController()
  const states: ConnectionState[] = []
  const news = offers<ConnectionState>()
  const hooks: ReconnectHooks[] = []
  /** Which tunnels, in order, were left by the client. */
  const left = offers<number>()
  let attempts = 0
  let lost = 0
  const done = keepConnected({
    clock,
    random,
    signal: stop.signal,
    isFatal,
    covered,
    awaited,
    onLeft: () => (lost += 1),
    onState: (state) => {
      states.push(state)
      news.push(state)
    },
    async connect(_signal, given) {
      const outcome = connects(attempts++)
      if (outcome !== 'up') throw outcome
      const nth = hooks.push(given) - 1
      const pair = memoryPair()
      const limits = { pingIdle: 3_600_000, deadAfter: 7_200_000 }
      createSession(pair.server, {
        ...{ side: 'server', clock, budget: createWindowBudget(), limits },
        onOpen: () => undefined,
        onGoAway: () => left.push(nth),
      })
      const session = createSession(pair.client, {
        side: 'client',
        clock,
        budget: createWindowBudget(),
        limits,
        onOpen: () => undefined,
        ...given,
      })
      return { session, proxyId: 'px' as ProxyId, connId: 'cn' as ConnId, liveProxies: 1 }
    },
  })
  const until = async (state: ConnectionState['state']): Promise<ConnectionState> => {
    for (;;) {
      const next = await news.next()
      if (next.state === state) return next
    }
  }
  return {
    ...{ clock, stop, states, hooks, done, until, left },
    attempts: () => attempts,
    get lost() {
      return lost
    },
  }
}

const down = () => new AppError('ERR_UNREACHABLE')

test('failures back off with jitter up to the cap, and never stop', async () => {
  const w = world(() => down())
  const waits: number[] = []
  for (let i = 0; i < 10; i++) {
    const state = await w.until('waiting')
    if (state.state !== 'waiting') throw new Error('unreachable')
    waits.push(state.retryIn)
    await Promise.resolve()
    w.clock.advance(state.retryIn)
  }
  expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000, 15_000])
  w.stop.abort()
  await w.done
  expect(w.states.at(-1)).toEqual({ state: 'stopped', error: undefined })
})

test('a lost tunnel is dialled again, and the error is told', async () => {
  const w = world(() => 'up')
  const up = await w.until('connected')
  if (up.state !== 'connected') throw new Error('unreachable')
  up.tunnel.session.close(new AppError('ERR_TUNNEL_CLOSED'))
  expect(await w.until('waiting')).toMatchObject({ error: { code: 'ERR_TUNNEL_CLOSED' } })
  await Promise.resolve()
  w.clock.advance(1000)
  await w.until('connected')
  w.stop.abort()
  await w.done
})

test('a tunnel that stood long resets the backoff, one that flaps does not', async () => {
  const w = world(() => 'up')
  const waits: number[] = []
  for (const stood of [0, 0, 0, 60_000, 0]) {
    const up = await w.until('connected')
    if (up.state !== 'connected') throw new Error('unreachable')
    w.clock.advance(stood)
    up.tunnel.session.close()
    const waiting = await w.until('waiting')
    if (waiting.state !== 'waiting') throw new Error('unreachable')
    waits.push(waiting.retryIn)
    await Promise.resolve()
    w.clock.advance(waiting.retryIn)
  }
  expect(waits).toEqual([250, 500, 1000, 250, 500])
  w.stop.abort()
  await w.done
})

test.each([
  ['streams wait for it', false, [50, 250, 250]],
  ['streams wait, and have another way', true, [250, 500, 1000]],
])('%s: how soon it dials again', async (_, covered, pauses) => {
  const refused = new AppError('ERR_PROXY_BUSY', undefined, { details: { retryAfter: 3 } })
  const outcomes = ['up', down(), down(), refused, 'up'] as const
  const w = world(
    (n) => outcomes[n] ?? 'up',
    undefined,
    () => covered,
    () => true,
  )
  const up = await w.until('connected')
  if (up.state !== 'connected') throw new Error('unreachable')
  up.tunnel.session.close()
  const waits: number[] = []
  for (let i = 0; i < 4; i++) {
    const waiting = await w.until('waiting')
    if (waiting.state !== 'waiting') throw new Error('unreachable')
    waits.push(waiting.retryIn)
    await Promise.resolve()
    w.clock.advance(waiting.retryIn)
  }
  expect(waits.slice(0, 3)).toEqual(pauses)
  // What a proxy asks for is kept, whoever waits.
  expect(waits[3]).toBeGreaterThanOrEqual(3000)
  w.stop.abort()
  await w.done
})

test('GOAWAY is honoured: it dials again in time, and the old tunnel goes when its streams are done', async () => {
  const w = world(() => 'up')
  const first = await w.until('connected')
  if (first.state !== 'connected') throw new Error('unreachable')
  const opening = first.tunnel.session.open(Buffer.alloc(0))
  opening.catch(() => undefined)
  w.hooks[0]?.onGoAway(2000)
  const waiting = await w.until('waiting')
  expect(waiting).toMatchObject({ retryIn: 1500, error: undefined })
  await Promise.resolve()
  w.clock.advance(1500)
  await w.until('connected')
  expect(first.tunnel.session.closed).toBe(false)
  w.clock.advance(15_000)
  expect(first.tunnel.session.streams).toBe(0)
  w.clock.advance(1_000)
  expect(first.tunnel.session.closed).toBe(true)
  expect(w.attempts()).toBe(2)
  w.stop.abort()
  await w.done
})

test('GOAWAY with nowhere else to go: the old tunnel stays in use until another one stands, and is left then', async () => {
  const w = world((attempt) => (attempt === 1 || attempt === 2 ? down() : 'up'))
  const first = await w.until('connected')
  if (first.state !== 'connected') throw new Error('unreachable')
  const { session } = first.tunnel
  w.hooks[0]?.onGoAway(2000)
  for (let failed = 0; failed < 3; failed++) {
    const waiting = await w.until('waiting')
    if (waiting.state !== 'waiting') throw new Error('unreachable')
    expect(waiting.leaving).toBe(failed === 0)
    // Idle, and kept all the same.
    expect(session.closed).toBe(false)
    await Promise.resolve()
    w.clock.advance(Math.max(waiting.retryIn, 1_000))
  }
  await w.until('connected')
  expect(await w.left.next()).toBe(0)
  w.clock.advance(1_000)
  expect(session.closed).toBe(true)
  w.stop.abort()
  await w.done
})

test.each([
  ['and streams wait: it dials at once', true, 50],
  ['and nobody waits: the time that the proxy gave is kept', false, 7500],
])('GOAWAY, then the old tunnel ends %s', async (_, waiting, pause) => {
  const w = world(
    () => 'up',
    undefined,
    undefined,
    () => waiting,
  )
  const first = await w.until('connected')
  if (first.state !== 'connected') throw new Error('unreachable')
  w.hooks[0]?.onGoAway(10_000)
  expect(await w.until('waiting')).toMatchObject({ retryIn: 7500, leaving: true })
  expect(w.lost).toBe(0)
  first.tunnel.session.close(new AppError('ERR_TUNNEL_CLOSED'))
  for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(w.lost).toBe(1)
  w.clock.advance(pause - 1)
  await new Promise((resolve) => setImmediate(resolve))
  expect(w.attempts()).toBe(1)
  w.clock.advance(1)
  await w.until('connected')
  w.stop.abort()
  await w.done
})

test('GOAWAY with another tunnel in use: the old one is left at once', async () => {
  const w = world(
    () => 'up',
    undefined,
    () => true,
  )
  const first = await w.until('connected')
  if (first.state !== 'connected') throw new Error('unreachable')
  w.hooks[0]?.onGoAway(60_000)
  expect(await w.left.next()).toBe(0)
  w.clock.advance(1_000)
  expect(first.tunnel.session.closed).toBe(true)
  expect(w.attempts()).toBe(1)
  w.stop.abort()
  await w.done
})

test('a fatal error stops it and is told', async () => {
  const w = world(
    () => new AppError('ERR_TUNNEL_VERSION'),
    (e) => e.code === 'ERR_TUNNEL_VERSION',
  )
  await w.done
  expect(w.states.at(-1)).toMatchObject({ state: 'stopped', error: { code: 'ERR_TUNNEL_VERSION' } })
  expect(w.attempts()).toBe(1)
})

test('stopping closes the tunnel in good order', async () => {
  const w = world(() => 'up')
  const up = await w.until('connected')
  if (up.state !== 'connected') throw new Error('unreachable')
  w.stop.abort()
  await w.done
  expect(up.tunnel.session.closed).toBe(true)
})

test('a server that names a time is believed, within reason', () => {
  const busy = new AppError('ERR_RATE_LIMITED', undefined, { details: { retryAfter: 20 } })
  expect(backoff(0, busy, random)).toBe(20_250)
  const absurd = new AppError('ERR_RATE_LIMITED', undefined, { details: { retryAfter: 999_999 } })
  expect(backoff(0, absurd, random)).toBe(300_250)
})

// Which other proxies are asked for an agent: those whose rows count, none that is known dead, and no belief older than a moment.
import { expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import type { ProxyLease, TunnelRow } from '../../../core/domain/presence.ts'
import { AppError } from '../../../core/errors.ts'
import type { AgentId, ConnId, ProxyId } from '../../../core/ids.ts'
import { createSession, type SessionHandlers } from '../../../core/tunnel/session.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { createNeighbours } from '../../../proxy/neighbours.ts'
import { handClock } from '../../support/clock.ts'
import { recordingLog } from '../../support/recording-log.ts'
import { memoryPair } from '../../support/transports.ts'

const AGENT = 'ag_1' as AgentId
const id = (name: string): ProxyId => `px_${name}` as ProxyId
const limits = { pingIdle: 3_600_000, deadAfter: 7_200_000 }
const never = new AbortController().signal

function world() {
  const clock = handClock()
  const log = recordingLog()
  const table = { rows: [] as TunnelRow[], leases: [] as ProxyLease[], reads: 0, looks: 0 }
  let live: readonly ProxyLease[] = []
  const dialled: string[] = []
  const down = new Map<string, AppError>()
  const handlers = new Map<string, SessionHandlers>()
  const budget = createWindowBudget()

  const neighbours = createNeighbours({
    proxyId: id('self'),
    presence: {
      async tunnelsOf(agentId) {
        table.reads += 1
        return table.rows.filter((row) => row.agentId === agentId)
      },
    },
    live: () => live,
    async look() {
      table.looks += 1
      live = [...table.leases]
    },
    async dial(address, given) {
      dialled.push(address)
      const failure = down.get(address)
      if (failure) throw failure
      handlers.set(address, given)
      const pair = memoryPair()
      createSession(pair.server, { side: 'server', clock, budget, limits, onOpen: () => undefined })
      const session = createSession(pair.client, {
        side: 'client',
        clock,
        budget,
        limits,
        ...given,
      })
      return { session, proxyId: id(address), connId: 'cn' as ConnId, liveProxies: 2 }
    },
    clock,
    random: { bytes: (n) => Buffer.alloc(n), float: () => 0.5 },
    log,
  })

  /** A proxy that holds the agent; its address is its name. */
  function holds(name: string, boot = 'boot1', service: TunnelRow['service'] = 'ssh'): void {
    lease(name, boot)
    const row = { agentId: AGENT, service, proxyId: id(name), bootId: `${name}-${boot}` }
    table.rows.push({ ...row, connId: 'cn' as ConnId, opened: clock.now() })
  }
  function lease(name: string, boot = 'boot1'): void {
    table.leases = table.leases.filter((one) => one.proxyId !== id(name))
    const expires = plus(clock.now(), 20_000)
    const bootId = `${name}-${boot}`
    table.leases.push({ proxyId: id(name), bootId, address: name, tunnels: 1, expires })
  }
  async function reached(signal = never): Promise<string[]> {
    const found: string[] = []
    for await (const link of neighbours.reach([AGENT], 'ssh', signal)) found.push(link.proxyId)
    return found.sort()
  }
  return { clock, log, table, neighbours, dialled, down, handlers, holds, lease, reached }
}

test('every proxy that has the agent is reached, each dialled once however often it is asked for', async () => {
  const w = world()
  w.holds('a')
  w.holds('b')
  expect(await w.reached()).toEqual(['px_a', 'px_b'])
  expect(await w.reached()).toEqual(['px_a', 'px_b'])
  expect(w.dialled.sort()).toEqual(['a', 'b'])
})

test('rows of this proxy itself, of another service and of an earlier life do not count', async () => {
  const w = world()
  w.holds('self')
  w.holds('a', 'boot1', 'app')
  w.holds('b')
  w.lease('b', 'boot2')
  expect(await w.reached()).toEqual([])
  expect(w.dialled).toEqual([])
})

test('an agent that nobody has costs one read, and no look at the leases', async () => {
  const w = world()
  expect(await w.reached()).toEqual([])
  expect(w.table).toMatchObject({ reads: 1, looks: 0 })
})

test('a thousand streams for an agent that is away read the table ten times a second at most', async () => {
  const w = world()
  for (let ms = 0; ms < 1_000; ms++) {
    await w.reached()
    w.clock.advance(1)
  }
  expect(w.table.reads).toBeLessThanOrEqual(10)
})

test('rows that were read a moment ago and lead nowhere are read again for the same stream', async () => {
  const w = world()
  w.holds('a')
  await w.reached()
  w.clock.advance(500)
  w.table.rows.length = 0
  w.handlers.get('a')?.onGoAway?.(0)
  w.holds('b')
  expect(await w.reached()).toContain('px_b')
})

test('one that cannot be reached is not asked again before its lease was renewed', async () => {
  const w = world()
  w.holds('a')
  w.down.set('a', new AppError('ERR_UNREACHABLE'))
  expect(await w.reached()).toEqual([])
  w.clock.advance(4_000)
  expect(await w.reached()).toEqual([])
  expect(w.dialled).toEqual(['a'])
  w.down.clear()
  w.lease('a')
  w.clock.advance(1_000)
  expect(await w.reached()).toEqual(['px_a'])
})

test('one that died is out of every decision when its lease is over, whatever the table still says', async () => {
  const w = world()
  w.holds('a')
  await w.reached()
  // Killed without a word: its rows and its lease stay as they are, and so does the connection.
  w.clock.advance(19_999)
  expect(await w.reached()).toEqual(['px_a'])
  w.clock.advance(1)
  expect(await w.reached()).toEqual([])
})

test('one that is busy is asked the next time', async () => {
  const w = world()
  w.holds('a')
  w.down.set('a', new AppError('ERR_PROXY_BUSY'))
  expect(await w.reached()).toEqual([])
  w.down.clear()
  expect(await w.reached()).toEqual(['px_a'])
})

test('one that another answers for at its address is left alone', async () => {
  const w = world()
  w.holds('a')
  const [lease] = w.table.leases
  if (!lease) throw new Error('a lease')
  w.table.leases = [{ ...lease, peerAddress: 'elsewhere' }]
  expect(await w.reached()).toEqual([])
  expect(w.dialled).toEqual(['elsewhere'])
  await w.log.seen('proxy.neighbour_unreachable')
})

test('when it leaves, what goes through it is told once, and the next stream dials it anew', async () => {
  const w = world()
  w.holds('a')
  const told: string[] = []
  for await (const link of w.neighbours.reach([AGENT], 'ssh', never))
    link.onLeaving.add(() => told.push(link.proxyId))
  w.handlers.get('a')?.onGoAway?.(1_000)
  w.handlers.get('a')?.onGoAway?.(1_000)
  expect(told).toEqual(['px_a'])
  await w.reached()
  expect(w.dialled).toEqual(['a', 'a'])
})

test('a connection that broke is replaced by a new one', async () => {
  const w = world()
  w.holds('a')
  for await (const link of w.neighbours.reach([AGENT], 'ssh', never))
    link.session.close(new AppError('ERR_TUNNEL_CLOSED'))
  expect(await w.reached()).toEqual(['px_a'])
  expect(w.dialled).toEqual(['a', 'a'])
})

test('a stream that is over reaches nobody, and a table that cannot be read is no error', async () => {
  const w = world()
  w.holds('a')
  expect(await w.reached(AbortSignal.abort())).toEqual([])
  expect(w.dialled).toEqual([])
  const broken = createNeighbours({
    ...{ proxyId: id('self'), live: () => [], look: async () => undefined },
    presence: { tunnelsOf: () => Promise.reject(new AppError('ERR_TIMEOUT')) },
    dial: () => Promise.reject(new Error('not asked')),
    ...{ clock: w.clock, random: { bytes: (n) => Buffer.alloc(n), float: () => 0 }, log: w.log },
  })
  const found = []
  for await (const link of broken.reach([AGENT], 'ssh', never)) found.push(link)
  expect(found).toEqual([])
  await w.log.seen('proxy.neighbours_unknown')
})

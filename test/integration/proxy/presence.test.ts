// What the table says about this proxy and its agents, and what the proxy does when it cannot say it.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AppError } from '../../../core/errors.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { failure } from '../../support/pki.ts'
import { proxyWorld, type World } from '../../support/proxy-world.ts'

let clock: HandClock
let world: World
beforeEach(async () => {
  clock = handClock()
  world = await proxyWorld({ clock })
})
afterEach(async () => {
  world.presence.outage = undefined
  world.presence.gate = undefined
  await world.close()
})

/** What follows from a write has happened after this. */
const turn = () => new Promise((resolve) => setImmediate(resolve))
const connId = (write: string | undefined): string => write?.split(' ')[1] ?? ''

test('a tunnel that opens is one write, an idle one none, one that closes is one more', async () => {
  const id = world.agentId()
  const tunnel = await world.dial({ leaf: await world.agentLeaf(id) })
  await world.presence.written(2)
  expect(world.presence.writes).toEqual(['lease', `put ${tunnel.connId}`])
  expect(await world.presence.live(id, clock.now())).toHaveLength(1)
  for (let i = 0; i < 6; i++) {
    clock.advance(5_000)
    await world.presence.written(3 + i)
    await turn()
  }
  expect(world.presence.writes.slice(2)).toEqual(Array<string>(6).fill('lease'))
  tunnel.session.close()
  await world.presence.written(9)
  expect(world.presence.writes.at(-1)).toBe(`end ${tunnel.connId}`)
  expect(await world.presence.live(id, clock.now())).toEqual([])
  expect(world.presence.lastSeen.get(id)).toBe(clock.now())
})

test('the late end of an old tunnel does not take the row of the new one', async () => {
  const id = world.agentId()
  const leaf = await world.agentLeaf(id)
  const first = await world.dial({ leaf })
  await world.presence.written(2)
  let open = (): void => undefined
  world.presence.gate = new Promise((resolve) => (open = resolve))
  first.session.close()
  await world.log.seen('proxy.tunnel_closed')
  const second = await world.dial({ leaf })
  open()
  world.presence.gate = undefined
  await world.presence.written(4)
  const [row, ...more] = await world.presence.live(id, clock.now())
  expect(more).toEqual([])
  expect(row?.connId).toBe(second.connId)
})

test('when the newest of two tunnels closes, the row names the older one again', async () => {
  const id = world.agentId()
  const leaf = await world.agentLeaf(id)
  const first = await world.dial({ leaf })
  await world.presence.written(2)
  const second = await world.dial({ leaf })
  await world.presence.written(3)
  second.session.close()
  await world.presence.written(5)
  const rows = await world.presence.live(id, clock.now())
  expect(rows.map((row) => row.connId)).toEqual([first.connId])
  expect(connId(world.presence.writes[2])).toBe(second.connId)
})

test('a table that does not answer delays no tunnel, and gets the row later', async () => {
  world.presence.outage = new AppError('ERR_UNREACHABLE')
  const id = world.agentId()
  await world.dial({ leaf: await world.agentLeaf(id) })
  await world.log.seen('proxy.presence_write_failed')
  world.presence.outage = undefined
  clock.advance(1_000)
  await world.presence.written(2)
  expect(await world.presence.live(id, clock.now())).toHaveLength(1)
})

test('a proxy whose lease ran out takes nothing new, says so, keeps its streams, and serves again later', async () => {
  const held = await world.dial({ leaf: await world.agentLeaf(world.agentId()) })
  world.presence.outage = new AppError('ERR_UNREACHABLE', 'the table is away')
  clock.advance(20_000)
  expect(world.proxy.stats().state).toBe('leaseless')
  await world.log.seen('proxy.lease_lost')
  const leaf = await world.agentLeaf(world.agentId())
  expect((await failure(() => world.dial({ leaf })))?.code).toBe('ERR_PROXY_BUSY')
  expect(held.session.closed).toBe(false)
  world.presence.outage = undefined
  clock.advance(5_000)
  await world.log.seen('proxy.serving', ({ fields }) => 'proxyId' in fields)
  await world.presence.written(3)
  await world.dial({ leaf })
})

test('a lease write that hangs does not hide that the lease ran out', async () => {
  world.presence.gate = new Promise(() => undefined)
  clock.advance(20_000)
  expect(world.proxy.stats().state).toBe('leaseless')
})

test('a proxy that loses its lease while others live sends its agents to them', async () => {
  await world.presence.renewLease({
    proxyId: 'px_01jd00000000000000000000zz' as never,
    bootId: 'other',
    address: 'elsewhere:443',
    tunnels: 0,
    expires: (clock.now() + 3_600_000) as never,
  })
  clock.advance(5_000)
  await world.presence.written(3)
  const away = new Promise<number>((resolve) => {
    void world
      .agentLeaf(world.agentId())
      .then((leaf) => world.dial({ leaf, onGoAway: resolve }))
      .then(() => {
        world.presence.outage = new AppError('ERR_UNREACHABLE')
        clock.advance(20_000)
      })
  })
  expect(await away).toBeLessThanOrEqual(10_000)
})

test('rows of a proxy that was killed count for nothing once its lease is over', async () => {
  const id = world.agentId()
  await world.dial({ leaf: await world.agentLeaf(id) })
  await world.presence.written(2)
  // Killed: no renewal and no goodbye reach the table any more.
  world.presence.outage = new AppError('ERR_UNREACHABLE')
  expect(await world.presence.live(id, clock.now())).toHaveLength(1)
  clock.advance(20_000)
  expect(await world.presence.live(id, clock.now())).toEqual([])
  expect(world.proxy.stats().leaseFailures).toBeGreaterThan(0)
})

test('draining tells every peer when to come back, takes nothing new and ends the lease', async () => {
  const id = world.agentId()
  const told: number[] = []
  const tunnel = await world.dial({
    leaf: await world.agentLeaf(id),
    onGoAway: (ms) => told.push(ms),
  })
  await world.presence.written(2)
  const caller = await world.dial({ leaf: await world.userLeaf(), purpose: 'user' })
  const stop = world.proxy.drain(5_000)
  const leaf = await world.agentLeaf(world.agentId())
  await failure(() => world.dial({ leaf }))
  await stop
  expect(told).toHaveLength(1)
  expect(told[0]).toBeLessThanOrEqual(5_000)
  expect(world.presence.leases.size).toBe(0)
  expect(await world.presence.tunnelsOf(id)).toEqual([])
  expect(world.proxy.stats().state).toBe('closed')
  void [tunnel, caller]
})

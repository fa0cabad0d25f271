/** Presence: a tunnel counts while its proxy's lease is fresh and of the same boot. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fromSeconds, instant, plus, seconds, type Instant } from '../../../core/clock.ts'
import type { ProxyLease, TunnelRow } from '../../../core/domain/presence.ts'
import { newId, type AgentId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { openFixture, type StoreFixture } from './stores.ts'

let f: StoreFixture
beforeAll(async () => {
  f = await openFixture()
})
afterAll(() => f.close())

const lease = (fields: Partial<ProxyLease> = {}): ProxyLease => ({
  proxyId: newId('proxy', f.now(), systemRandom),
  bootId: f.fresh('boot'),
  address: '127.0.0.1:3080',
  tunnels: 0,
  expires: plus(f.now(), LIMITS.leaseTtl.value),
  ...fields,
})
const tunnel = (agentId: AgentId, l: ProxyLease, fields: Partial<TunnelRow> = {}): TunnelRow => ({
  agentId,
  service: 'ssh',
  proxyId: l.proxyId,
  bootId: l.bootId,
  connId: newId('conn', f.now(), systemRandom),
  opened: fromSeconds(seconds(f.now())),
  ...fields,
})
const presence = async (id: AgentId) => (await f.stores.presence.presenceOf([id], f.now())).get(id)

test('a proxy is live until its lease expires, or ends it itself', async () => {
  const { presence: p } = f.stores
  const [one, two] = [lease(), lease()]
  await p.renewLease(one)
  await p.renewLease(two)
  expect(await p.liveProxies(f.now())).toEqual(expect.arrayContaining([one, two]))
  await p.endLease(two.proxyId, 'another boot')
  expect(await p.liveProxies(f.now())).toContainEqual(two)
  await p.endLease(two.proxyId, two.bootId)
  expect(await p.liveProxies(f.now())).toEqual([one])
  f.advance(LIMITS.leaseTtl.value)
  expect(await p.liveProxies(f.now())).toEqual([])
})
test('an agent is online through each of its tunnels, by service', async () => {
  const { presence: p } = f.stores
  const id = f.agentId()
  const [a, b] = [lease(), lease()]
  await p.renewLease(a)
  await p.renewLease(b)
  const rows = [tunnel(id, a), tunnel(id, b), tunnel(id, a, { service: 'app' })]
  for (const row of rows) await p.putTunnel(row)
  expect(await p.tunnelsOf(id)).toEqual(expect.arrayContaining(rows))
  expect(await p.liveTunnels(id, 'ssh', f.now())).toHaveLength(2)
  expect((await p.liveTunnels(id, 'app', f.now()))[0]?.lease).toEqual(a)
  expect((await presence(id))?.lastSeen).toBe(f.now())
})
test('the end of a replaced tunnel does not remove the one that replaced it', async () => {
  const { presence: p } = f.stores
  const id = f.agentId()
  const l = lease()
  await p.renewLease(l)
  const [old, next] = [tunnel(id, l), tunnel(id, l)]
  await p.putTunnel(old)
  await p.putTunnel(next)
  await p.endTunnel(old, f.now())
  expect(await p.tunnelsOf(id)).toEqual([next])
  f.advance(5000)
  await p.endTunnel(next, f.now())
  expect(await p.tunnelsOf(id)).toEqual([])
  expect(await presence(id)).toEqual({
    tunnels: [],
    lastSeen: fromSeconds(seconds(f.now())),
  })
})
test('a proxy that dies takes its tunnels with it; the agent was last seen at its last renewal', async () => {
  const { presence: p } = f.stores
  const id = f.agentId()
  const l = lease()
  await p.renewLease(l)
  await p.putTunnel(tunnel(id, l))
  f.advance(5000)
  await p.renewLease({ ...l, expires: plus(f.now(), LIMITS.leaseTtl.value) })
  const renewed = f.now()
  f.advance(LIMITS.leaseTtl.value)
  expect(await presence(id)).toEqual({ tunnels: [], lastSeen: fromSeconds(seconds(renewed)) })
})
test('tunnels of an earlier life of the same proxy do not count', async () => {
  const { presence: p } = f.stores
  const id = f.agentId()
  const l = lease()
  await p.renewLease(l)
  await p.putTunnel(tunnel(id, l))
  await p.renewLease({ ...l, bootId: 'the next life' })
  expect((await presence(id))?.tunnels).toEqual([])
})
test('presence of many agents is read together; those never seen are offline', async () => {
  const { presence: p } = f.stores
  const l = lease()
  await p.renewLease(l)
  const ids = Array.from({ length: 230 }, () => f.agentId())
  for (const id of ids.slice(0, 115)) await p.putTunnel(tunnel(id, l))
  const found = await p.presenceOf([...ids, ...ids], f.now())
  expect(found.size).toBe(230)
  expect(ids.filter((id) => (found.get(id)?.tunnels.length ?? 0) > 0)).toEqual(ids.slice(0, 115))
  expect(found.get(ids.at(-1) as AgentId)).toEqual({ tunnels: [], lastSeen: undefined })
})
test('proxies are told once of each service that left, for as long as its certificates could run', async () => {
  const { presence: p, agents } = f.stores
  const joined = await f.join((await f.token()).token, { service: 'app' })
  if (joined.kind === 'refused') throw new Error(joined.reason)
  const { agent } = joined
  const before = await p.policyCounts()
  expect(await agents.removeService(agent, 'app', f.now())).toBe(true)
  expect(await agents.removeService(agent, 'app', f.now())).toBe(false)
  expect(await p.policyCounts()).toEqual({ ...before, departures: before.departures + 1 })
  const told = (at: Instant) => p.departuresSince(at, f.now())
  const left = { agentId: agent.id, service: 'app' }
  expect(await told(f.now())).toEqual([expect.objectContaining(left)])
  expect(await told(plus(f.now(), 1000))).toEqual([])
  f.advance(LIMITS.agentCertTtl.value)
  expect(await told(instant(0))).toEqual([])
})
test('the policy version that a proxy reads is the one that changes bump', async () => {
  const before = await f.stores.presence.policyCounts()
  expect(await f.stores.policy.bump()).toBe(before.policy + 1)
  expect(await f.stores.presence.policyCounts()).toEqual({ ...before, policy: before.policy + 1 })
})

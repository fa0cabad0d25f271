// The table under several workers of one proxy: one lease, rows in order, nothing left of a worker that died.
import { expect, test } from 'vitest'
import { plus, type Instant } from '../../../../core/clock.ts'
import type { TunnelRow } from '../../../../core/domain/presence.ts'
import type { AgentId, ConnId, ProxyId } from '../../../../core/ids.ts'
import { silentLog } from '../../../../core/log.ts'
import { createSharedTable } from '../../../../proxy/workers/shared-table.ts'
import { memoryPresence } from '../../../fakes/presence.ts'
import { handClock } from '../../../support/clock.ts'
import { recordingLog } from '../../../support/recording-log.ts'

const row = (agent: string, conn: string): TunnelRow => ({
  agentId: agent as AgentId,
  service: 'ssh',
  proxyId: 'px' as ProxyId,
  bootId: 'boot',
  connId: conn as ConnId,
  opened: handClock().now(),
})
const lease = (tunnels: number, expires: Instant) => ({
  proxyId: 'px' as ProxyId,
  bootId: 'boot',
  address: 'proxy:443',
  tunnels,
  expires,
})

function world() {
  const clock = handClock()
  const presence = memoryPresence()
  const log = recordingLog()
  const table = createSharedTable({ presence, clock, log })
  return { clock, presence, table, log }
}

test('the lease tells the tunnels of all, and stays when one worker leaves in good order', async () => {
  const { clock, presence, table } = world()
  const expires = plus(clock.now(), 20_000)
  await table.of(1).renewLease(lease(3, expires))
  await table.of(2).renewLease(lease(4, expires))
  expect(presence.leases.get('px' as ProxyId)?.tunnels).toBe(7)
  await table.of(1).endLease('px' as ProxyId, 'boot')
  expect(presence.leases.size).toBe(1)
  await table.of(2).renewLease(lease(4, expires))
  expect(presence.leases.get('px' as ProxyId)?.tunnels).toBe(4)
  await table.end()
  expect(presence.leases.size).toBe(0)
})

test('an agent that moves from one worker to another keeps the newer row, however slow the table is', async () => {
  const { clock, presence, table } = world()
  let open: () => void = () => undefined
  presence.gate = new Promise((resolve) => (open = resolve))
  const writes = [
    table.of(1).putTunnel(row('ag', 'old')),
    table.of(2).putTunnel(row('ag', 'new')),
    table.of(1).endTunnel(row('ag', 'old'), clock.now()),
  ]
  open()
  await Promise.all(writes)
  expect(presence.writes).toEqual(['put old', 'put new', 'end old'])
  expect((await presence.tunnelsOf('ag' as AgentId)).map((r) => r.connId)).toEqual(['new'])
})

test('the rows of a worker that died are ended, those that moved since are not', async () => {
  const { presence, table } = world()
  await table.of(1).putTunnel(row('stays-away', 'a'))
  await table.of(1).putTunnel(row('moves', 'b'))
  await table.of(2).putTunnel(row('moves', 'c'))
  await table.left(1)
  expect(await presence.tunnelsOf('stays-away' as AgentId)).toEqual([])
  expect((await presence.tunnelsOf('moves' as AgentId)).map((r) => r.connId)).toEqual(['c'])
})

test('a table that is away when a worker dies is told of, and harms nobody else', async () => {
  const { presence, table, log } = world()
  await table.of(1).putTunnel(row('ag', 'a'))
  presence.outage = new Error('away')
  await table.left(1)
  await log.seen('proxy.rows_not_ended')
  presence.outage = undefined
  await table.of(2).putTunnel(row('ag', 'b'))
  expect((await presence.tunnelsOf('ag' as AgentId)).map((r) => r.connId)).toEqual(['b'])
})

test('what every worker asks each second is read once for all of them, and never later than half a second', async () => {
  const clock = handClock()
  let reads = 0
  const policyCounts = () => Promise.resolve({ policy: ++reads, departures: 0 })
  const presence = { ...memoryPresence(), policyCounts }
  const table = createSharedTable({ presence, clock, log: silentLog })
  const read = async (n: number): Promise<number> => (await table.of(n).policyCounts()).policy
  expect(await Promise.all([1, 2, 3].map(read))).toEqual([1, 1, 1])
  clock.advance(499)
  expect(await read(2)).toBe(1)
  clock.advance(1)
  expect(await read(3)).toBe(2)
})

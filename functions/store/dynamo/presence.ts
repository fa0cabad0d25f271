/**
 * Presence in the table: a lease for each proxy, and one row for each agent with an attribute for each service and proxy that
 * holds a tunnel. One row for an agent lets a list read the presence of a hundred agents at once.
 */
import * as z from 'zod'
import { fromSeconds, seconds, type Instant } from '../../../core/clock.ts'
import type { ProxyLease, TunnelRow } from '../../../core/domain/presence.ts'
import { SERVICE_KINDS } from '../../../core/domain/service.ts'
import type { AgentId, ConnId, ProxyId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { AgentPresence, LiveTunnel, PresenceReader } from '../presence-store.ts'
import { joinKey, keys, splitKey } from '../table.ts'
import { codec, idOf, time } from './codec.ts'
import { departuresSince } from './departures.ts'
import type { Plain } from './marshal.ts'
import { readCounts } from './policies.ts'
import type { Expression, TableClient } from './table-client.ts'

const leases = codec(
  'lease',
  z.object({
    proxyId: idOf<ProxyId>(),
    bootId: z.string(),
    address: z.string(),
    peerAddress: z.string().optional(),
    tunnels: z.int(),
    expires: time,
  }),
  (b): ProxyLease => b,
)
const DAY = 24 * 3600

const held = z.object({ bootId: z.string(), connId: idOf<ConnId>(), opened: time })
const service = z.enum(SERVICE_KINDS)
const tunnelRows = codec(
  'tunnel',
  z.object({ agentId: idOf<AgentId>(), lastSeen: z.int().optional() }).catchall(z.unknown()),
  (b): { lastSeen: Instant | undefined; tunnels: TunnelRow[] } => ({
    lastSeen: b.lastSeen === undefined ? undefined : fromSeconds(b.lastSeen),
    tunnels: Object.entries(b)
      .filter(([name]) => name.startsWith('at#'))
      .map(([name, value]) => {
        const [, of, proxyId = ''] = splitKey(name)
        return {
          agentId: b.agentId,
          service: service.parse(of),
          proxyId: proxyId as ProxyId,
          ...held.parse(value),
        }
      }),
  }),
)
/** The attribute of one service's tunnel at one proxy. */
const attribute = (row: TunnelRow): string => joinKey('at', row.service, row.proxyId)

/** Last known moment of a tunnel whose proxy ended without a word: its lease's last renewal, or at least its opening. */
function lastKnown(row: TunnelRow, lease: ProxyLease | undefined): number {
  return lease?.bootId === row.bootId
    ? Math.max(row.opened, lease.expires - LIMITS.leaseTtl.value)
    : row.opened
}

export function createPresenceStore({ table }: { readonly table: TableClient }): PresenceReader {
  async function allLeases(): Promise<Map<ProxyId, ProxyLease>> {
    const items = await table.queryAll({ partition: 'LEASE' })
    return new Map(items.map((item) => leases.fromItem(item)).map((l) => [l.proxyId, l]))
  }
  const rowOf = (item: Plain | undefined) =>
    item ? tunnelRows.fromItem(item) : { lastSeen: undefined, tunnels: [] }

  function judge(
    row: { lastSeen: Instant | undefined; tunnels: readonly TunnelRow[] },
    known: ReadonlyMap<ProxyId, ProxyLease>,
    now: Instant,
  ): AgentPresence {
    const tunnels: LiveTunnel[] = []
    let seen: number | undefined = row.lastSeen
    for (const tunnel of row.tunnels) {
      const lease = known.get(tunnel.proxyId)
      if (lease && lease.bootId === tunnel.bootId && now < lease.expires)
        tunnels.push({ ...tunnel, lease })
      else seen = Math.max(seen ?? 0, lastKnown(tunnel, lease))
    }
    return { tunnels, lastSeen: tunnels.length > 0 ? now : (seen as Instant | undefined) }
  }

  return {
    async renewLease(lease) {
      const expires = seconds(lease.expires)
      await table.write({
        put: leases.item(
          { ...keys.lease(lease.proxyId), ttl: expires + DAY },
          { ...lease, expires },
        ),
      })
    },
    async endLease(proxyId, bootId) {
      await table.write({
        remove: keys.lease(proxyId),
        when: {
          text: '#bootId = :bootId',
          names: { '#bootId': 'bootId' },
          values: { ':bootId': bootId },
        },
      })
    },
    async liveProxies(now) {
      return [...(await allLeases()).values()].filter((lease) => now < lease.expires)
    },
    async putTunnel(row) {
      await table.write({
        key: keys.tunnel(row.agentId),
        update: {
          text: 'SET #at = :at, #agentId = :agentId, #entity = :entity, v = :v',
          names: { '#at': attribute(row), '#agentId': 'agentId', '#entity': 'entity' },
          values: {
            ':at': { bootId: row.bootId, connId: row.connId, opened: seconds(row.opened) },
            ':agentId': row.agentId,
            ':entity': 'tunnel',
            ':v': 1,
          },
        },
      })
    },
    async endTunnel(row, now) {
      const stillThisOne: Expression = {
        text: '#at.#bootId = :bootId AND #at.#connId = :connId',
        names: { '#bootId': 'bootId', '#connId': 'connId' },
        values: { ':bootId': row.bootId, ':connId': row.connId },
      }
      await table.write({
        key: keys.tunnel(row.agentId),
        update: {
          text: 'REMOVE #at SET #lastSeen = :now',
          names: { '#at': attribute(row), '#lastSeen': 'lastSeen' },
          values: { ':now': seconds(now) },
        },
        when: stillThisOne,
      })
    },
    async tunnelsOf(id) {
      return rowOf(await table.get(keys.tunnel(id))).tunnels
    },
    policyCounts: () => readCounts(table),
    departuresSince: (since, now) => departuresSince(table, since, now),
    async presenceOf(ids, now) {
      const unique = [...new Set(ids)]
      const [known, items] = await Promise.all([
        allLeases(),
        table.getMany(unique.map((id) => keys.tunnel(id))),
      ])
      const rows = new Map(items.map((item) => [item['agentId'], item]))
      return new Map(unique.map((id) => [id, judge(rowOf(rows.get(id)), known, now)]))
    },
    async liveTunnels(id, of, now) {
      const [known, item] = await Promise.all([allLeases(), table.get(keys.tunnel(id))])
      return judge(rowOf(item), known, now).tunnels.filter((tunnel) => tunnel.service === of)
    },
  }
}

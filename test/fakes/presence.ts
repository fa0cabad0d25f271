/** Presence in memory, with the store's promises: rows count only under a fresh lease of the same boot, ends are conditional. */
import type { Instant } from '../../core/clock.ts'
import type { Departure } from '../../core/domain/departure.ts'
import type { PresenceStore, ProxyLease, TunnelRow } from '../../core/domain/presence.ts'
import type { AgentId, ProxyId } from '../../core/ids.ts'

export interface MemoryPresence extends PresenceStore {
  version: number
  readonly departures: Departure[]
  /** While set, every call rejects with it. */
  outage: Error | undefined
  /** While set, every write waits for it. */
  gate: Promise<void> | undefined
  readonly leases: ReadonlyMap<ProxyId, ProxyLease>
  /** Every write that got through, oldest first: `put <connId>`, `end <connId>`, `lease`, `end lease`. */
  readonly writes: readonly string[]
  readonly lastSeen: ReadonlyMap<AgentId, Instant>
  /** Rows that count at `now`. */
  live(agentId: AgentId, now: Instant): Promise<TunnelRow[]>
  /** Resolves when `count` writes got through. */
  written(count: number): Promise<void>
}

const keyOf = (row: TunnelRow): string => `${row.agentId}/${row.service}/${row.proxyId}`

export function memoryPresence(): MemoryPresence {
  const leases = new Map<ProxyId, ProxyLease>()
  const rows = new Map<string, TunnelRow>()
  const lastSeen = new Map<AgentId, Instant>()
  const writes: string[] = []
  const waiting = new Set<{ count: number; done: () => void }>()

  function check(): void {
    if (presence.outage) throw presence.outage
  }
  async function reach(): Promise<void> {
    check()
    await presence.gate
    check()
  }
  function wrote(what: string): void {
    writes.push(what)
    for (const waiter of waiting)
      if (writes.length >= waiter.count) {
        waiting.delete(waiter)
        waiter.done()
      }
  }

  const presence: MemoryPresence = {
    version: 1,
    departures: [],
    outage: undefined,
    gate: undefined,
    leases,
    writes,
    lastSeen,
    async renewLease(lease) {
      await reach()
      leases.set(lease.proxyId, lease)
      wrote('lease')
    },
    async endLease(proxyId, bootId) {
      await reach()
      if (leases.get(proxyId)?.bootId === bootId) leases.delete(proxyId)
      wrote('end lease')
    },
    async liveProxies(now) {
      await reach()
      return [...leases.values()].filter((lease) => now < lease.expires)
    },
    async putTunnel(row) {
      await reach()
      rows.set(keyOf(row), row)
      wrote(`put ${row.connId}`)
    },
    async endTunnel(row, now) {
      await reach()
      const held = rows.get(keyOf(row))
      if (held?.bootId === row.bootId && held.connId === row.connId) rows.delete(keyOf(row))
      lastSeen.set(row.agentId, now)
      wrote(`end ${row.connId}`)
    },
    async tunnelsOf(agentId) {
      await reach()
      return [...rows.values()].filter((row) => row.agentId === agentId)
    },
    async policyCounts() {
      check()
      return { policy: presence.version, departures: presence.departures.length }
    },
    async departuresSince(_since, now) {
      check()
      return presence.departures.filter(({ expires }) => now < expires)
    },
    async live(agentId, now) {
      return [...rows.values()].filter((row) => {
        const lease = leases.get(row.proxyId)
        return row.agentId === agentId && lease?.bootId === row.bootId && now < lease.expires
      })
    },
    written(count) {
      if (writes.length >= count) return Promise.resolve()
      return new Promise((done) => waiting.add({ count, done }))
    },
  }
  return presence
}

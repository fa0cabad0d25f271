/**
 * The table as the workers of one proxy use it, by way of the first process: one lease for all of them, writes about one agent in the
 * order in which they came, and the rows of a worker that ended ended with it.
 */
import type { Clock } from '../../core/clock.ts'
import type { PresenceStore, ProxyLease, TunnelRow } from '../../core/domain/presence.ts'
import { reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'

/** Milliseconds for which an answer is good for every worker: each of them asks once a second, and a lock must be seen in two. */
const SHARED = LIMITS.policyPoll.value / 2

export interface SharedTable {
  of(worker: number): PresenceStore
  /** Ends what this worker put into the table. */
  left(worker: number): Promise<void>
  /** Ends the lease. Never rejects. */
  end(): Promise<void>
}

/** One call for all who ask within `ms` of its start. A failure is not kept. */
export function shared<T>(clock: Clock, ms: number, call: () => Promise<T>): () => Promise<T> {
  let kept: { readonly answer: Promise<T>; readonly until: number } | undefined
  return () => {
    if (kept && clock.monotonic() < kept.until) return kept.answer
    const fresh = { answer: call(), until: clock.monotonic() + ms }
    kept = fresh
    fresh.answer.catch(() => {
      if (kept === fresh) kept = undefined
    })
    return fresh.answer
  }
}

export function createSharedTable(deps: {
  readonly presence: PresenceStore
  readonly clock: Clock
  readonly log: Log
}): SharedTable {
  const { presence, clock, log } = deps
  const rows = new Map<number, Map<string, TunnelRow>>()
  const tunnels = new Map<number, number>()
  /** The last write about each agent service. */
  const turns = new Map<string, Promise<void>>()
  const counts = shared(clock, SHARED, () => presence.policyCounts())
  const live = shared(clock, SHARED, () => presence.liveProxies(clock.now()))
  let lease: ProxyLease | undefined
  let renewing: Promise<void> = Promise.resolve()

  function inTurn(row: TunnelRow, write: () => Promise<void>): Promise<void> {
    const key = `${row.agentId}/${row.service}`
    const mine = (turns.get(key) ?? Promise.resolve()).then(write)
    const turn = mine.catch(() => undefined)
    turns.set(key, turn)
    void turn.then(() => {
      if (turns.get(key) === turn) turns.delete(key)
    })
    return mine
  }
  const put = (row: TunnelRow) => inTurn(row, () => presence.putTunnel(row))
  const end = (row: TunnelRow) => inTurn(row, () => presence.endTunnel(row, clock.now()))
  const rowsOf = (worker: number): Map<string, TunnelRow> => {
    const known = rows.get(worker) ?? new Map<string, TunnelRow>()
    rows.set(worker, known)
    return known
  }

  return {
    of: (worker) => ({
      renewLease(next) {
        tunnels.set(worker, next.tunnels)
        const sum = [...tunnels.values()].reduce((a, b) => a + b, 0)
        lease = { ...next, tunnels: sum }
        const written = presence.renewLease(lease)
        renewing = written.catch(() => undefined)
        return written
      },
      // The others go on under it.
      endLease: () => Promise.resolve(void tunnels.delete(worker)),
      liveProxies: live,
      putTunnel(row) {
        rowsOf(worker).set(row.connId, row)
        return put(row)
      },
      async endTunnel(row) {
        await end(row)
        rowsOf(worker).delete(row.connId)
      },
      tunnelsOf: (agentId) => presence.tunnelsOf(agentId),
      policyCounts: counts,
      departuresSince: (...of) => presence.departuresSince(...of),
    }),
    async left(worker) {
      const had = [...(rows.get(worker)?.values() ?? [])]
      rows.delete(worker)
      tunnels.delete(worker)
      // A row that cannot be ended now counts until its agent comes back or the lease is over: as when a whole proxy dies.
      const ended = await Promise.allSettled(had.map(end))
      const failed = ended.find((one) => one.status === 'rejected')
      if (failed) log.warn('proxy.rows_not_ended', { worker, reason: reasonOf(failed.reason) })
    },
    async end() {
      await renewing
      if (!lease) return
      await presence.endLease(lease.proxyId, lease.bootId).catch((e: unknown) => {
        log.warn('proxy.lease_not_ended', { reason: reasonOf(e) })
      })
    },
  }
}

/**
 * Who is connected where, without a write per idle agent (protocols.md 7). A tunnel row counts only while its proxy's lease
 * is fresh. This interface is all that a proxy may do with the table.
 */
import type { Instant } from '../clock.ts'
import type { AgentId, ConnId, ProxyId } from '../ids.ts'
import type { Departure } from './departure.ts'
import type { ServiceKind } from './service.ts'

export interface ProxyLease {
  readonly proxyId: ProxyId
  /** Made anew at each start, so that rows of an earlier life are recognised. */
  readonly bootId: string
  /** `host:port` that agents and users dial; of a load balancer where one stands in front. */
  readonly address: string
  /** `host:port` that other proxies dial, of this very proxy; undefined: `address`. */
  readonly peerAddress?: string | undefined
  readonly tunnels: number
  readonly expires: Instant
}

export interface TunnelRow {
  readonly agentId: AgentId
  readonly service: ServiceKind
  readonly proxyId: ProxyId
  readonly bootId: string
  readonly connId: ConnId
  readonly opened: Instant
}

/** Numbers that only count up, side by side in one row. */
export interface PolicyCounts {
  /** Bumped by every change of a role, user, lock or CA. */
  readonly policy: number
  /** Bumped by every service that leaves its agent. */
  readonly departures: number
}

export interface PresenceStore {
  /** Writes this proxy's lease; the last writer wins, `bootId` tells lives apart. */
  renewLease(lease: ProxyLease): Promise<void>
  /** Ends a lease at once, as a clean shutdown does. Only its own boot. */
  endLease(proxyId: ProxyId, bootId: string): Promise<void>
  /** Leases not expired at `now`. Strongly consistent. */
  liveProxies(now: Instant): Promise<ProxyLease[]>
  /** Written when a tunnel opens. */
  putTunnel(row: TunnelRow): Promise<void>
  /** Written when it closes: removes the row only if it still names this boot and connection, and records `lastSeen`. */
  endTunnel(row: TunnelRow, now: Instant): Promise<void>
  /** Rows of one agent, whether or not their lease is fresh. Strongly consistent. */
  tunnelsOf(agentId: AgentId): Promise<TunnelRow[]>
  /** One small read, strongly consistent. */
  policyCounts(): Promise<PolicyCounts>
  /** Written at `since` or later, and not run out at `now`. Strongly consistent. */
  departuresSince(since: Instant, now: Instant): Promise<Departure[]>
}

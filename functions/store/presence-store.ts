/** Presence as the control plane reads it. The proxy's part of it is core/domain/presence.ts. */
import type { Instant } from '../../core/clock.ts'
import type { PresenceStore, ProxyLease, TunnelRow } from '../../core/domain/presence.ts'
import type { ServiceKind } from '../../core/domain/service.ts'
import type { AgentId } from '../../core/ids.ts'

export interface LiveTunnel extends TunnelRow {
  /** Of the proxy that holds it. */
  readonly lease: ProxyLease
}

export interface AgentPresence {
  /** Tunnels whose proxy's lease is fresh and of the same boot. */
  readonly tunnels: readonly LiveTunnel[]
  /** `now` while a tunnel is live; otherwise when the last one was known to be. undefined = never connected. */
  readonly lastSeen: Instant | undefined
}

export interface PresenceReader extends PresenceStore {
  /** Presence of many agents at `now`: one read for each hundred. Strongly consistent. Agents never seen are present with no tunnels. */
  presenceOf(ids: readonly AgentId[], now: Instant): Promise<ReadonlyMap<AgentId, AgentPresence>>
  /** Live tunnels of one service of one agent. Strongly consistent. */
  liveTunnels(id: AgentId, service: ServiceKind, now: Instant): Promise<LiveTunnel[]>
}

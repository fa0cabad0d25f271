/**
 * Who is connected to this proxy. Memory only, and the first thing this proxy believes: the rows in the table tell others.
 *
 * A second tunnel of one identity replaces nothing. The newest gets new streams, the older ones live as long as they answer:
 * closing them would let two holders of a copied identity throw each other out for ever.
 */
import type { Instant } from '../core/clock.ts'
import type { AgentIdentity, ProxyIdentity, UserIdentity } from '../core/certs/identity.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import type { AgentId, ConnId } from '../core/ids.ts'
import { shuffled, type Random } from '../core/random.ts'
import type { Session } from '../core/tunnel/session.ts'

export interface AgentTunnel {
  readonly kind: 'agent'
  readonly identity: AgentIdentity
  /** When its certificate was issued. */
  readonly issued: Instant
  readonly session: Session
  readonly connId: ConnId
  readonly opened: Instant
  /** Called when the agent has found another proxy and leaves this one: what can move had better. */
  readonly onLeaving: Set<() => void>
  /** Traffic waits there and the agent is silent: used only when nothing better exists. */
  suspect: boolean
}
export interface UserTunnel {
  readonly kind: 'user'
  readonly identity: UserIdentity
  readonly issued: Instant
  readonly session: Session
  readonly connId: ConnId
  /** Address the tunnel came from. */
  readonly source: string
}
/** Another proxy, whose users' streams go to agents here. */
export interface PeerTunnel {
  readonly kind: 'peer'
  readonly identity: ProxyIdentity
  readonly issued: Instant
  readonly session: Session
  readonly connId: ConnId
}
export type Tunnel = AgentTunnel | UserTunnel | PeerTunnel

export interface TunnelRegistry {
  add(tunnel: Tunnel): void
  /** Removing what is not there does nothing. */
  remove(tunnel: Tunnel): void
  /** Tunnels of one agent service, newest first. */
  ofAgent(agentId: AgentId, service: ServiceKind): readonly AgentTunnel[]
  countOfUser(user: string): number
  /**
   * Where to try a stream for one of these agents, in order: the newest tunnel of each agent at random, silent ones and older
   * ones behind. Empty: none is connected here.
   */
  candidates(agentIds: readonly AgentId[], service: ServiceKind, random: Random): AgentTunnel[]
  agents(): Iterable<AgentTunnel>
  /** Agents and users: all but the other proxies. */
  guests(): Iterable<Tunnel>
  all(): Iterable<Tunnel>
  readonly agentCount: number
  readonly userCount: number
}

const keyOf = (agentId: AgentId, service: ServiceKind): string => `${agentId}/${service}`

export function createTunnelRegistry(): TunnelRegistry {
  const agents = new Set<AgentTunnel>()
  const users = new Set<UserTunnel>()
  const peers = new Set<PeerTunnel>()
  const byAgent = new Map<string, AgentTunnel[]>()
  const userCounts = new Map<string, number>()

  const ofAgent = (agentId: AgentId, service: ServiceKind): readonly AgentTunnel[] =>
    byAgent.get(keyOf(agentId, service)) ?? []

  function addAgent(tunnel: AgentTunnel): void {
    const key = keyOf(tunnel.identity.agentId, tunnel.identity.service)
    agents.add(tunnel)
    byAgent.set(key, [tunnel, ...(byAgent.get(key) ?? [])])
  }
  function removeAgent(tunnel: AgentTunnel): void {
    if (!agents.delete(tunnel)) return
    const key = keyOf(tunnel.identity.agentId, tunnel.identity.service)
    const left = (byAgent.get(key) ?? []).filter((t) => t !== tunnel)
    if (left.length > 0) byAgent.set(key, left)
    else byAgent.delete(key)
  }
  function countUser(user: string, change: 1 | -1): void {
    const count = (userCounts.get(user) ?? 0) + change
    if (count > 0) userCounts.set(user, count)
    else userCounts.delete(user)
  }

  return {
    add(tunnel) {
      if (tunnel.kind === 'agent') return addAgent(tunnel)
      if (tunnel.kind === 'peer') return void peers.add(tunnel)
      users.add(tunnel)
      countUser(tunnel.identity.user, 1)
    },
    remove(tunnel) {
      if (tunnel.kind === 'agent') return removeAgent(tunnel)
      if (tunnel.kind === 'peer') return void peers.delete(tunnel)
      if (users.delete(tunnel)) countUser(tunnel.identity.user, -1)
    },
    ofAgent,
    countOfUser: (user) => userCounts.get(user) ?? 0,
    candidates(agentIds, service, random) {
      const usable = shuffled([...new Set(agentIds)], random).map((id) =>
        ofAgent(id, service).filter((t) => !t.session.closed && !t.session.goingAway),
      )
      const newest = usable.flatMap((tunnels) => tunnels.slice(0, 1))
      const older = usable.flatMap((tunnels) => tunnels.slice(1))
      const inOrder = [...newest, ...older]
      return [...inOrder.filter((t) => !t.suspect), ...inOrder.filter((t) => t.suspect)]
    },
    agents: () => agents.values(),
    *guests() {
      yield* agents
      yield* users
    },
    *all() {
      yield* agents
      yield* users
      yield* peers
    },
    get agentCount() {
      return agents.size
    },
    get userCount() {
      return users.size
    },
  }
}

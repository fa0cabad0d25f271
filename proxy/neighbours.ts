/**
 * The other proxies, as far as this one needs them: an agent that is not connected here is reached through the proxy that has
 * it. Which one that is stands in the table and counts while that proxy's lease is fresh (protocols.md 7); the connection to it is
 * authenticated both ways, as every tunnel is, and is dialled when it is needed. A proxy that was found dead is not asked again
 * before its lease was renewed. What was read a moment ago and led nowhere is read once more.
 */
import type { Clock, Timer } from '../core/clock.ts'
import type { PresenceStore, ProxyLease, TunnelRow } from '../core/domain/presence.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import type { AgentId, ProxyId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import { shuffled } from '../core/random.ts'
import type { Session, SessionHandlers } from '../core/tunnel/session.ts'
import { hopeFor } from '../net/patience.ts'
import type { ConnectedTunnel } from '../net/tunnel-client.ts'
import { within } from './within.ts'

export interface Link {
  readonly proxyId: ProxyId
  readonly session: Session
  /** Called when that proxy is about to leave: what can move had better. */
  readonly onLeaving: Set<() => void>
  /** Traffic waits there and it is silent. */
  suspect: boolean
}

export interface Neighbours {
  /** Links to the proxies that have one of these agents, in random order, each dialled when it is asked for. */
  reach(
    agentIds: readonly AgentId[],
    service: ServiceKind,
    signal: AbortSignal,
  ): AsyncGenerator<Link, void, undefined>
  close(): void
}

export interface NeighboursDeps {
  readonly proxyId: ProxyId
  readonly presence: Pick<PresenceStore, 'tunnelsOf'>
  /** Leases as last read, and a fresh look at them. */
  live(): readonly ProxyLease[]
  look(): Promise<void>
  dial(
    address: string,
    handlers: SessionHandlers & { readonly signal: AbortSignal },
  ): Promise<ConnectedTunnel>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

interface Known {
  readonly rows: Promise<readonly TunnelRow[]>
  /** When they were asked for. */
  readonly at: number
}

/** Agents whose rows are remembered for a moment; more and the oldest is forgotten. */
const ROWS_KEPT = 4096
/** Rows or leases that led nowhere are read again when they are older than this, ms: no flood of streams floods the table. */
const DOUBT = 100

export function createNeighbours(deps: NeighboursDeps): Neighbours {
  const { clock, random, log } = deps
  const links = new Map<ProxyId, { readonly bootId: string; readonly link: Promise<Link> }>()
  const open = new Set<Session>()
  /** The end of the lease that a proxy had when it could not be reached. */
  const dead = new Map<ProxyId, number>()
  const known = new Map<AgentId, Known>()
  let looking: { readonly done: Promise<void>; readonly at: number } | undefined

  function rowsOf(agentId: AgentId, maxAge: number): Promise<readonly TunnelRow[]> {
    const kept = known.get(agentId)
    const at = clock.monotonic()
    if (kept && at - kept.at < maxAge) return kept.rows
    const rows = within(clock, LIMITS.peerDial.value, deps.presence.tunnelsOf(agentId))
    const oldest = known.keys().next()
    if (known.size >= ROWS_KEPT && !oldest.done) known.delete(oldest.value)
    known.delete(agentId)
    known.set(agentId, { rows, at })
    rows.catch(() => known.delete(agentId))
    return rows
  }

  /** A fresh look at the leases, shared by all who ask at the same time. */
  function look(): Promise<void> {
    const at = clock.monotonic()
    if (looking && at - looking.at < DOUBT) return looking.done
    looking = { done: deps.look(), at }
    return looking.done
  }

  const leaseOf = ({ proxyId, bootId }: TunnelRow): ProxyLease | undefined =>
    deps.live().find((lease) => lease.proxyId === proxyId && lease.bootId === bootId)
  const fresh = (lease: ProxyLease): boolean => clock.now() < lease.expires
  const usable = (lease: ProxyLease): boolean =>
    fresh(lease) && (dead.get(lease.proxyId) ?? -Infinity) < lease.expires

  async function holders(
    agentIds: readonly AgentId[],
    service: ServiceKind,
    maxAge: number,
  ): Promise<readonly ProxyLease[]> {
    const rows = (await Promise.all(agentIds.map((id) => rowsOf(id, maxAge))))
      .flat()
      .filter((row) => row.service === service && row.proxyId !== deps.proxyId)
    const live = (): ProxyLease[] => {
      const leases = rows.map(leaseOf).filter((lease) => lease !== undefined)
      return [...new Set(leases)].filter(usable)
    }
    // One that started since the last look has rows in the table before its lease is known here, and one that was found dead may
    // have renewed its lease since.
    if (rows.some((row) => !leaseOf(row)) || (rows.length > 0 && live().length === 0)) await look()
    return shuffled(live(), random)
  }

  async function dial(lease: ProxyLease, over: () => void): Promise<Link> {
    const onLeaving = new Set<() => void>()
    let link: Link | undefined
    let grace: Timer | undefined
    const leave = (): void => {
      over()
      const told = [...onLeaving]
      onLeaving.clear()
      for (const fn of told) fn()
    }
    const late = new AbortController()
    const timer = clock.after(LIMITS.peerDial.value, () => late.abort(new AppError('ERR_TIMEOUT')))
    try {
      const { session, proxyId } = await deps.dial(lease.peerAddress ?? lease.address, {
        signal: late.signal,
        onOpen: (stream) =>
          stream.refuse('ERR_TUNNEL_PROTOCOL', 'this proxy asks, it is not asked'),
        onGoAway: leave,
        onSuspect(suspect) {
          if (link) link.suspect = suspect
          grace?.cancel()
          if (!suspect || !link) return
          grace = hopeFor(link.session, clock, () =>
            link?.session.close(new AppError('ERR_TUNNEL_CLOSED', 'the proxy went silent')),
          )
        },
        onClose() {
          grace?.cancel()
          over()
          if (link) open.delete(link.session)
        },
      })
      if (proxyId !== lease.proxyId) {
        session.close()
        throw new AppError('ERR_TUNNEL_HANDSHAKE', undefined, {
          internal: `${proxyId} answers at the address of ${lease.proxyId}`,
        })
      }
      open.add(session)
      link = { proxyId, session, onLeaving, suspect: false }
      return link
    } finally {
      timer.cancel()
    }
  }

  function linkTo(lease: ProxyLease): Promise<Link> {
    const { proxyId, bootId } = lease
    const there = links.get(proxyId)
    if (there?.bootId === bootId) return there.link
    const over = (): void => {
      if (links.get(proxyId) === entry) links.delete(proxyId)
    }
    const entry = { bootId, link: dial(lease, () => over()) }
    links.set(proxyId, entry)
    entry.link.catch((e: unknown) => {
      over()
      // A proxy that says it is busy is not dead.
      if (toAppError(e).code !== 'ERR_PROXY_BUSY') dead.set(proxyId, lease.expires)
      log.warn('proxy.neighbour_unreachable', { proxyId, reason: reasonOf(e) })
    })
    return entry.link
  }

  return {
    async *reach(agentIds, service, signal) {
      const tried = new Set<string>()
      for (const maxAge of [LIMITS.policyPoll.value, DOUBT]) {
        const leases = await holders(agentIds, service, maxAge).catch((e: unknown) => {
          log.warn('proxy.neighbours_unknown', { reason: reasonOf(e) })
          return []
        })
        for (const lease of leases) {
          if (signal.aborted) return
          if (tried.has(lease.bootId)) continue
          tried.add(lease.bootId)
          const link = await linkTo(lease).catch(() => undefined)
          if (link && !link.session.closed && !link.session.goingAway) yield link
        }
      }
    },
    close() {
      for (const session of open) session.close()
    },
  }
}

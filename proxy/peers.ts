/**
 * What becomes of a peer that came in: an agent is entered in the registry and the table and gets the policy, a user's streams
 * are relayed. Also whom this proxy turns away, and whom a new policy throws out.
 */
import type { Identity, UserIdentity } from '../core/certs/identity.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Clock, Instant, Timer } from '../core/clock.ts'
import { issuedAt } from '../core/domain/departure.ts'
import { findLock, type Lock, type LockSubject } from '../core/domain/lock.ts'
import type { Policy } from '../core/domain/policy.ts'
import type { TunnelRow } from '../core/domain/presence.ts'
import { AppError, reasonOf } from '../core/errors.ts'
import { agentIdOf, type ProxyId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import { hopeFor } from '../net/patience.ts'
import type { TunnelPurpose } from '../net/tunnel-client.ts'
import type { AcceptedTunnel } from '../net/tunnel-server.ts'
import type { ProxyCounters } from './counters.ts'
import type { Departures } from './departures.ts'
import type { Guest } from './door.ts'
import type { PresenceRows } from './presence-rows.ts'
import type { Relay } from './relay.ts'
import type { Siblings } from './siblings.ts'
import type { AgentTunnel, Tunnel, TunnelRegistry } from './tunnels.ts'

export interface PeersDeps {
  readonly cluster: string
  readonly proxyId: ProxyId
  readonly bootId: string
  readonly registry: TunnelRegistry
  readonly rows: PresenceRows
  readonly relay: Relay
  readonly siblings: Siblings
  policy(): Policy | undefined
  readonly departures: Pick<Departures, 'voids'>
  /** A new agent is here and wants the policy. */
  onAgent(tunnel: AgentTunnel): void
  readonly clock: Clock
  readonly counters: ProxyCounters
  readonly metrics: Pick<Metrics, 'inc'>
  readonly log: Log
}

export interface Peers {
  authorise(identity: Identity, purpose: TunnelPurpose, certificate: Certificate): void
  guest(source: string): PeerGuest
  welcome(accepted: AcceptedTunnel, guest: PeerGuest, source: string): void
  /** Closes every tunnel whose identity a lock strikes now, or whose service left its agent. */
  cutLocked(): void
}

type AgentService = Pick<AgentTunnel['identity'], 'agentId' | 'service'>

export interface PeerGuest extends Guest {
  tunnel: Tunnel | undefined
  over: boolean
}

const KIND_OF = { agent: 'agent', user: 'user', peer: 'proxy' } as const

const refused = (internal: string, message?: string): AppError =>
  new AppError('ERR_TUNNEL_HANDSHAKE', message, { internal })

/** Roles both in the certificate and in the policy now (protocols.md 5.3): a lock on a role strikes whoever has it in force. */
function rolesInForce(user: UserIdentity, policy: Policy): readonly string[] {
  const now = Object.hasOwn(policy.users, user.user) ? (policy.users[user.user] ?? []) : []
  return user.roles.filter((role) => now.includes(role))
}

const gone = (): AppError => new AppError('ERR_TUNNEL_CLOSED', 'The other end went silent')

export function createPeers(deps: PeersDeps): Peers {
  const { registry, rows, relay, siblings, clock, counters, metrics, log } = deps

  function lockOn(identity: Identity): Lock | undefined {
    const policy = deps.policy()
    if (!policy) return undefined
    const subject: LockSubject =
      identity.kind === 'agent'
        ? { kind: 'agent', agent: identity.agentId, service: identity.service }
        : identity.kind === 'proxy'
          ? { kind: 'agent', agent: agentIdOf(identity.proxyId) }
          : { kind: 'user', user: identity.user, roles: rolesInForce(identity, policy) }
    return findLock(policy.locks, subject, clock.now())
  }

  /** Why an identity that was proven may have no tunnel now. */
  function struck(identity: Identity, issued: Instant): string | undefined {
    const lock = lockOn(identity)
    if (lock) return `lock ${lock.id}`
    return identity.kind === 'agent' && deps.departures.voids(identity, issued)
      ? 'the service has left its agent'
      : undefined
  }

  function authorise(identity: Identity, purpose: TunnelPurpose, certificate: Certificate): void {
    if (identity.kind !== KIND_OF[purpose])
      throw refused(`a certificate of kind ${identity.kind} for purpose ${purpose}`)
    if (identity.cluster !== deps.cluster) throw refused('certificate of another cluster')
    const why = struck(identity, issuedAt(certificate))
    if (why !== undefined) throw new AppError('ERR_LOCKED', undefined, { internal: why })
    if (identity.kind === 'agent') {
      const { agentId, service } = identity
      const here =
        registry.ofAgent(agentId, service).length + siblings.countOfAgent(agentId, service)
      if (here >= LIMITS.tunnelsPerIdentity.value) throw new AppError('ERR_TUNNEL_ALREADY_HERE')
    } else if (
      identity.kind === 'user' &&
      registry.countOfUser(identity.user) + siblings.countOfUser(identity.user) >=
        LIMITS.tunnelsPerUser.value
    ) {
      throw new AppError('ERR_RATE_LIMITED', 'too many tunnels of this user')
    }
  }

  /** The row the table should have: that of the newest tunnel that takes streams. */
  function wantRow({ agentId, service }: AgentService): void {
    const newest = registry
      .ofAgent(agentId, service)
      .find(({ session }) => !session.closed && !session.goingAway)
    const row: TunnelRow | undefined = newest && {
      agentId,
      service,
      proxyId: deps.proxyId,
      bootId: deps.bootId,
      connId: newest.connId,
      opened: newest.opened,
    }
    rows.want(`${agentId}/${service}`, row)
  }

  /**
   * Older tunnels of the same identity: one that does not answer is dead and goes, one that answers stays. `newest` undefined:
   * it came in at another process of this proxy.
   */
  function probeOlder({ agentId, service }: AgentService, newest?: AgentTunnel): void {
    for (const older of registry.ofAgent(agentId, service)) {
      if (older === newest || older.session.closed) continue
      // An agent that dials again while its tunnel is silent knows why; its users need not wait for a timeout.
      const patience = older.suspect ? LIMITS.suspectAfter : LIMITS.suspectGrace
      const deadline = clock.after(patience.value, () =>
        older.session.close(new AppError('ERR_TUNNEL_CLOSED', 'silent, and replaced by a newer')),
      )
      older.session.ping().then(
        () => deadline.cancel(),
        () => deadline.cancel(),
      )
    }
  }

  function tunnelOf(accepted: AcceptedTunnel, source: string): Tunnel {
    const { identity, issued, session, connId } = accepted
    const common = { issued, session, connId }
    if (identity.kind === 'user') return { kind: 'user', identity, ...common, source }
    if (identity.kind === 'proxy') return { kind: 'peer', identity, ...common }
    const opened = clock.now()
    return {
      kind: 'agent',
      identity,
      ...common,
      opened,
      onLeaving: new Set(),
      suspect: false,
    }
  }

  function countClosed({ kind, session }: Tunnel, err: AppError | undefined): void {
    const { bytesIn, bytesOut, stalls } = session.stats
    counters.tunnelsClosed += 1
    counters.bytesIn += bytesIn
    counters.bytesOut += bytesOut
    counters.stalls += stalls
    metrics.inc('postern_proxy_tunnels_closed_total', { kind, code: err?.code ?? 'ok' })
  }

  function cut(tunnel: Tunnel, why: string): void {
    counters.tunnelsCut += 1
    const { identity } = tunnel
    const who =
      identity.kind === 'agent'
        ? identity.agentId
        : identity.kind === 'proxy'
          ? identity.proxyId
          : identity.user
    log.warn('proxy.tunnel_cut', { who, why })
    tunnel.session.close(new AppError('ERR_LOCKED'))
  }

  siblings.attach({
    onOpen: (stream, payload) =>
      relay.serve(stream, payload, {
        user: deps.proxyId,
        source: '',
        passedOn: 'sibling',
      }),
    onAgent: (agentId, service) => probeOlder({ agentId, service }),
    // Its row may have stood where ours should: the table has one for each agent and proxy.
    onAgentGone(agentId, service) {
      if (registry.ofAgent(agentId, service).length > 0) wantRow({ agentId, service })
    },
  })

  return {
    authorise,
    guest(source) {
      let grace: Timer | undefined
      const guest: PeerGuest = {
        tunnel: undefined,
        over: false,
        onOpen(stream, payload, { identity, connId }) {
          if (identity.kind === 'user')
            return relay.serve(stream, payload, { user: identity.user, source, connId })
          if (identity.kind === 'proxy')
            return relay.serve(stream, payload, {
              user: identity.proxyId,
              source,
              connId,
              passedOn: 'proxy',
            })
          return stream.refuse('ERR_TUNNEL_PROTOCOL', 'agents open no streams')
        },
        onGoAway() {
          const { tunnel } = guest
          if (tunnel?.kind !== 'agent') return
          wantRow(tunnel.identity)
          siblings.closed(tunnel)
          for (const move of [...tunnel.onLeaving]) move()
        },
        onSuspect(suspect) {
          const { tunnel } = guest
          if (tunnel?.kind === 'agent') tunnel.suspect = suspect
          grace?.cancel()
          if (!suspect || !tunnel) return
          // A stream that waits there had better go another way than wait until silence alone would tell.
          const { session } = tunnel
          grace = hopeFor(session, clock, () => {
            if (session.streams > 0) session.close(gone())
          })
        },
        onClose(err) {
          guest.over = true
          grace?.cancel()
          const { tunnel } = guest
          if (!tunnel) return
          registry.remove(tunnel)
          siblings.closed(tunnel)
          countClosed(tunnel, err)
          if (tunnel.kind === 'agent') wantRow(tunnel.identity)
          log.info('proxy.tunnel_closed', {
            connId: tunnel.connId,
            ...(err ? { code: err.code, reason: reasonOf(err) } : {}),
          })
        },
      }
      return guest
    },
    welcome(accepted, guest, source) {
      if (guest.over) return
      const tunnel = tunnelOf(accepted, source)
      guest.tunnel = tunnel
      registry.add(tunnel)
      siblings.opened(tunnel)
      counters.tunnelsOpened += 1
      metrics.inc('postern_proxy_tunnels_opened_total', { kind: tunnel.kind })
      // A lock that came between the check and now would otherwise wait for the next change.
      const why = struck(tunnel.identity, tunnel.issued)
      if (why !== undefined) return cut(tunnel, why)
      if (tunnel.kind !== 'agent') return
      wantRow(tunnel.identity)
      probeOlder(tunnel.identity, tunnel)
      deps.onAgent(tunnel)
    },
    cutLocked() {
      for (const tunnel of [...registry.all()]) {
        const why = struck(tunnel.identity, tunnel.issued)
        if (why !== undefined) cut(tunnel, why)
      }
    },
  }
}

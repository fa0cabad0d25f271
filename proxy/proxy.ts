/**
 * The proxy: agents and users dial in, users' streams are spliced to the agents that serve them. It finds the way and decides
 * nothing about access: what passes through it is end-to-end TLS or SSH. This file puts the parts together.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { KeyObject } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { identityOf } from '../core/certs/identity.ts'
import type { Signer } from '../core/certs/signer.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Clock } from '../core/clock.ts'
import type { Policy } from '../core/domain/policy.ts'
import type { PresenceStore } from '../core/domain/presence.ts'
import { AppError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { createMetrics, type Metrics } from '../core/metrics/metrics.ts'
import type { Random } from '../core/random.ts'
import type { TunnelPurpose } from '../core/tunnel/handshake-messages.ts'
import type { TunnelLimits } from '../core/tunnel/tunnel-limits.ts'
import { createWindowBudget, type WindowBudget } from '../core/tunnel/window-budget.ts'
import { createAdmission, shareOf, type AdmissionLimits } from './admission.ts'
import { newCounters, type ProxyState, type ProxyStats } from './counters.ts'
import { createDepartures } from './departures.ts'
import { createDoor } from './door.ts'
import { emptied, tellToLeave } from './drain.ts'
import { answerRequest, readiness } from './http.ts'
import { createLease } from './lease.ts'
import { exportStats } from './metrics.ts'
import { createNeighbours } from './neighbours.ts'
import { peerDial } from './peer-dial.ts'
import { createPeers, type PeerGuest } from './peers.ts'
import { createPolicyFeed } from './policy-feed.ts'
import { createPolicyPush } from './policy-push.ts'
import type { PolicySource } from './policy-source.ts'
import { createPresenceRows } from './presence-rows.ts'
import { publicDocuments, type PublicParts } from './public-documents.ts'
import { createRelay } from './relay.ts'
import { NO_SIBLINGS, type Siblings } from './siblings.ts'
import { proxyStats } from './stats.ts'
import { createTunnelRegistry } from './tunnels.ts'

export interface ProxyDeps extends PublicParts {
  readonly cluster: string
  /** `spiffe://<cluster>/proxy/<id>` and its key. A function, because identities are renewed; the id never changes. */
  identity(): { readonly certificate: Certificate; readonly signer: Signer }
  /** What this process was started with; once a signed policy arrived, the CAs and keys in it are used instead. */
  hostCas(): readonly Certificate[]
  userCas(): readonly Certificate[]
  policyKeys(): readonly KeyObject[]
  readonly presence: PresenceStore
  /** Every `host:port` under which clients reach this proxy. A handshake that names another address is refused. */
  publicAddresses(): readonly string[]
  readonly policy: PolicySource
  /** Called with every policy that was verified and came into force. */
  onPolicy?: ((policy: Policy) => void) | undefined
  /** `host:port` that other proxies dial; default: the first of publicAddresses. */
  readonly peerAddress?: (() => string) | undefined
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Where this proxy counts; default: nobody reads it. */
  readonly metrics?: Metrics | undefined
  /** Overrides for tests; the defaults are LIMITS. */
  readonly limits?: Partial<AdmissionLimits> | undefined
  readonly tunnelLimits?: Partial<TunnelLimits> | undefined
  /** What makes this process one of several that are one proxy (docs/adr/0013); absent: it is the only one. */
  readonly together?: {
    /** The same in all of them, because they share one lease. */
    readonly bootId: string
    /** How many they are. Limits of a proxy are divided by it. */
    readonly of: number
    readonly budget: WindowBudget
    readonly siblings: Siblings
  }
}

export interface Proxy {
  /**
   * Takes the lease and reads the policy, then keeps both fresh. Resolves when the proxy accepts tunnels, which needs the
   * lease alone; a control plane that is still away is asked again every second.
   */
  start(): Promise<void>
  /** For the HTTP server's `upgrade` event. Never throws; answers with HTTP when it refuses. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** `GET /healthz`, `/readyz`, `/.well-known/postern`, `/v1/ca`. False: not one of these, nothing was written. */
  handleRequest(request: IncomingMessage, response: ServerResponse): boolean
  /** Takes nothing new, tells every peer to come back in a while, and closes when all have left or after `ms`. */
  drain(ms: number): Promise<void>
  /** Ends every tunnel and the lease at once. Idempotent. */
  close(): Promise<void>
  /** What `/readyz` says: a lease, a policy, and no drain. */
  ready(): ReturnType<typeof readiness>
  stats(): ProxyStats
}

/** Peers that are told to leave come back within this time, spread evenly, ms. */
const COME_BACK = 10_000
/** What is left unwritten to the table when the proxy closes is given up after this, ms; the lease is ended anyway. */
const LAST_WRITES = 3_000

export function createProxy(deps: ProxyDeps): Proxy {
  const { cluster, presence, clock, random, log, metrics = createMetrics() } = deps
  const self = identityOf(deps.identity().certificate)
  if (self.kind !== 'proxy' || self.cluster !== cluster)
    throw new AppError('ERR_CERT_INVALID', undefined, { internal: 'not a proxy of this cluster' })
  const { proxyId } = self
  const {
    bootId,
    of: processes,
    budget,
    siblings,
  } = deps.together ?? {
    bootId: random.bytes(12).toString('base64url'),
    of: 1,
    budget: createWindowBudget(),
    siblings: NO_SIBLINGS,
  }
  const counters = newCounters()
  const registry = createTunnelRegistry()
  const admission = createAdmission(shareOf(deps.limits, processes))
  const stopping = new AbortController()
  let state: ProxyState = 'starting'

  const address = (): string => deps.publicAddresses()[0] ?? ''
  const common = { clock, random, counters, metrics, log }
  const rows = createPresenceRows({ presence, ...common })
  const lease = createLease({
    presence,
    proxyId,
    bootId,
    address,
    peerAddress: () => deps.peerAddress?.() ?? address(),
    tunnels: () => registry.agentCount + registry.userCount,
    ...common,
    onHeld,
    onMore: () => push.bringAll(registry.agents()),
  })
  const feed = createPolicyFeed({
    source: deps.policy,
    presence,
    cluster,
    policyKeys: () => deps.policyKeys(),
    ...common,
    onPolicy({ policy }) {
      deps.onPolicy?.(policy)
      log.info('proxy.policy', { version: policy.version })
      peers.cutLocked()
      push.bringAll(registry.agents())
    },
    onDepartures: (count) => void departures.follow(count),
    onFreshness: () => push.bringAll(registry.agents()),
  })
  const departures = createDepartures({ presence, onNew: () => peers.cutLocked(), ...common })
  const push = createPolicyPush({
    policy: () => feed.known && { version: feed.known.policy.version, jws: feed.known.jws },
    freshness: () => feed.freshness,
    liveProxies: () => lease.liveProxies,
    ...common,
  })
  const neighbours = createNeighbours({
    proxyId,
    presence,
    live: () => lease.live,
    look: () => lease.look(),
    dial: peerDial({
      ...{ cluster, clock, random, budget, limits: deps.tunnelLimits },
      identity: () => deps.identity(),
      hostCas: () => feed.known?.hostCas ?? deps.hostCas(),
    }),
    ...common,
  })
  const relay = createRelay({
    cluster,
    registry,
    siblings,
    neighbours,
    policyKeys: () => feed.known?.keys ?? deps.policyKeys(),
    locks: () => feed.known?.policy.locks ?? [],
    ...common,
  })
  const peers = createPeers({
    cluster,
    proxyId,
    bootId,
    registry,
    rows,
    relay,
    siblings,
    policy: () => feed.known?.policy,
    departures,
    onAgent: (tunnel) => push.bring(tunnel),
    ...common,
  })
  const door = createDoor<PeerGuest>({
    admission,
    tunnels: () => registry.agentCount + registry.userCount,
    closedBecause,
    authorise(identity, purpose, certificate) {
      const why = closedBecause(purpose)
      if (why) throw why
      peers.authorise(identity, purpose, certificate)
    },
    guest: (source) => peers.guest(source),
    welcome(accepted, guest, source) {
      // The last step of a handshake may fall into the moment of closing.
      if (state === 'closed') return accepted.session.close()
      peers.welcome(accepted, guest, source)
    },
    server: {
      cluster,
      get identity() {
        return deps.identity()
      },
      hostCas: () => feed.known?.hostCas ?? deps.hostCas(),
      userCas: () => feed.known?.userCas ?? deps.userCas(),
      isOwnAddress: (dialled) =>
        deps.publicAddresses().some((own) => own.toLowerCase() === dialled),
      liveProxies: () => lease.liveProxies,
      clock,
      random,
      budget,
      limits: deps.tunnelLimits,
    },
    counters,
    metrics,
    log,
  })

  const known = publicDocuments({
    ...deps,
    address,
    live: () => lease.live,
    policyCas: () => feed.known?.policy.cas,
    signedCas: () => feed.known?.signedCas,
  })

  /** While it drains, other proxies still reach the agents that have not found another proxy yet. */
  function closedBecause(purpose: TunnelPurpose | undefined): AppError | undefined {
    if (state === 'serving' || (state === 'draining' && purpose === 'peer')) return undefined
    return new AppError('ERR_PROXY_BUSY', `the proxy is ${state}`, { details: { retryAfter: 2 } })
  }

  function onHeld(held: boolean): void {
    if (held && (state === 'starting' || state === 'leaseless')) {
      log.info('proxy.serving', { proxyId })
      state = 'serving'
    } else if (!held && state === 'serving') {
      // Others count this proxy as dead now. Streams go on; if somebody else is there, the peers had better go there.
      state = 'leaseless'
      log.error('proxy.lease_lost', { proxyId, liveProxies: lease.liveProxies })
      if (lease.liveProxies > 1) tellToLeave(registry.all(), COME_BACK, random)
    }
  }

  async function close(): Promise<void> {
    if (state === 'closed') return
    state = 'closed'
    stopping.abort(new AppError('ERR_TUNNEL_CLOSED'))
    feed.stop()
    door.close()
    neighbours.close()
    siblings.close()
    for (const tunnel of [...registry.all()]) tunnel.session.close()
    const enough = new AbortController()
    const limit = clock.after(LAST_WRITES, () => enough.abort())
    await rows.settled(enough.signal)
    limit.cancel()
    rows.stop()
    await lease.end()
    uncount()
    log.info('proxy.closed', { proxyId })
  }

  const policyVersion = (): number => feed.known?.policy.version ?? 0

  const stats = (): ProxyStats =>
    proxyStats({ counters, registry, lease, feed, state, handshakesPending: admission.pending })
  const uncount = exportStats(metrics, stats)

  return {
    async start() {
      await lease.start(stopping.signal)
      feed.start()
    },
    handleUpgrade: (request, socket, head) => door.handleUpgrade(request, socket, head),
    handleRequest: (request, response) =>
      answerRequest(request, response, { state: () => state, policyVersion, ...known }),
    ready: () => readiness({ state: () => state, policyVersion }),
    async drain(ms) {
      if (state === 'closed') return
      state = 'draining'
      log.info('proxy.draining', { proxyId, ms })
      tellToLeave(registry.guests(), Math.min(COME_BACK, ms), random)
      await emptied(registry, clock, ms, () => lease.liveProxies <= 1)
      await close()
    },
    close,
    stats,
  }
}

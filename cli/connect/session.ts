/**
 * The user's side of the tunnel: a route for each resource, one tunnel to a proxy, dialled when it is needed and again when it
 * broke, and a stream for each connection, asked for with an offer that the user's key signs.
 */
import { setMaxListeners } from 'node:events'
import type { CheckedRoute } from '../../core/api/route-check.ts'
import { instant, systemClock, type Clock } from '../../core/clock.ts'
import { AppError, toAppError, type ErrorCode } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { AgentId } from '../../core/ids.ts'
import { systemRandom, type Random } from '../../core/random.ts'
import { encodeOpen, signOffer } from '../../core/tunnel/open.ts'
import { readAccept, signResume } from '../../core/tunnel/resume-handshake.ts'
import type { SessionHandlers } from '../../core/tunnel/session.ts'
import { identityOf } from '../../core/certs/identity.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { serviceOfResource } from '../../core/domain/service.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import { apiClient } from '../../net/http-client.ts'
import { isUntrusted } from '../../net/trust.ts'
import { connectTunnel, type ConnectedTunnel } from '../../net/tunnel-client.ts'
import { checkAgent } from './inner-tls.ts'
import { persist, type Again } from './persist.ts'
import { keepResumable } from './resume.ts'
import { createTunnels, type HeldTunnel } from './tunnels.ts'
import { credentialOf, loadProfile, type Credential, type StoredProfile } from './profile.ts'
import { createRoutes, type FoundRoute } from './routes.ts'
import { trustOf } from './trust.ts'
import type { ForwardProxy } from '../../net/forward-proxy.ts'

export interface ProxySessionOptions {
  readonly profile: StoredProfile
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  /** A stream went on over another connection. */
  onResumed?: (() => void) | undefined
  /** Ends the session, and what is being opened. */
  readonly signal?: AbortSignal | undefined
  readonly httpsProxy?: ForwardProxy | undefined
}

export interface ResourceName {
  readonly kind: 'node' | 'app'
  readonly name: string
}

export interface OpenedResource {
  /** Accepted by the agent, not started. */
  readonly stream: TunnelStream
  /** Verified: signed by a policy key of the profile. */
  readonly route: CheckedRoute
  /** For apps: how to speak to it. */
  readonly protocol: 'tcp' | 'http' | undefined
}

export interface ProxySession {
  /** The newest known: certificates are renewed on disk while a session lasts. */
  readonly profile: StoredProfile
  /**
   * Asks for a route (or takes the cached one), dials a proxy when no tunnel is open, and opens a stream. Rejects with what
   * the proxy or the agent refused with.
   */
  open(resource: ResourceName, signal?: AbortSignal): Promise<OpenedResource>
  /** Ends the tunnel and all of its streams. */
  close(): void
}

/** Certificates that end within this time are looked up again, ms: `postern up` and `login` renew them on disk. */
const RENEWED_BEFORE = 60_000

/** With a kept route these may mean that the world has moved on since. */
const STALE: ReadonlySet<ErrorCode> = new Set([
  'ERR_ROUTE_INVALID',
  'ERR_RESOURCE_OFFLINE',
  'ERR_CLOCK',
])
/** This proxy does not get there, or not in time, though the control plane says that there is a way: another one may. */
const NO_WAY: ReadonlySet<ErrorCode> = new Set([
  'ERR_RESOURCE_OFFLINE',
  'ERR_PROXY_BUSY',
  'ERR_TIMEOUT',
])

function agentIdOf(certificate: Buffer): AgentId {
  const identity = identityOf(readCertificate(certificate))
  if (identity.kind !== 'agent') throw new AppError('ERR_CERT_INVALID')
  return identity.agentId
}

export function openProxySession(options: ProxySessionOptions): ProxySession {
  const clock = options.clock ?? systemClock
  const random = options.random ?? systemRandom
  const ending = new AbortController()
  // Each stream listens; Node would warn of a leak at the eleventh.
  setMaxListeners(0, ending.signal)
  let profile = options.profile
  let credential: Credential = credentialOf(profile)
  options.signal?.addEventListener('abort', close, { once: true })

  let trust = trustOf(profile)
  const api = apiClient({
    baseUrl: profile.api,
    trust: () => trust,
    identity: () => credential,
    cluster: profile.cluster,
    clock,
    random,
    proxy: options.httpsProxy,
    patience: LIMITS.callPatience.value,
  })
  const now = () => instant(clock.now() + api.clockOffset)
  const routes = createRoutes({ profile: () => profile, api, now, follow })

  function close(): void {
    ending.abort(new AppError('ERR_TUNNEL_CLOSED'))
    tunnels.close()
    api.close()
  }

  /** Takes up a rotation of the CAs. True when others are known now. */
  async function follow(): Promise<boolean> {
    const before = profile
    // Only when there is something to follow: every ssh loads what this file imports.
    const { followCas } = await import('./follow-cas.ts')
    profile = await followCas(profile, now(), options.httpsProxy)
    trust = trustOf(profile)
    return profile !== before
  }

  async function refresh(): Promise<void> {
    if (now() + RENEWED_BEFORE < profile.expires) return
    profile = await loadProfile(profile.dir)
    credential = credentialOf(profile)
    trust = trustOf(profile)
    if (now() >= profile.expires)
      throw new AppError('ERR_PROFILE_MISSING', 'the certificates of this profile have expired')
  }

  const dial = (
    address: string,
    handlers: SessionHandlers,
    attempt: AbortSignal,
    believed = trust,
  ): Promise<ConnectedTunnel> =>
    connectTunnel({
      url: `wss://${address}`,
      trust: believed,
      cluster: profile.cluster,
      hostCas: profile.hostCas.map((pem) => readCertificate(pem)),
      identity: credential,
      purpose: 'user',
      clock,
      random,
      signal: attempt,
      proxy: options.httpsProxy,
      ...handlers,
    }).catch((e: unknown) => {
      // A load balancer that ends TLS shows a certificate of its own. Of a tunnel, TLS hides only who speaks: what the machine
      // believes will do, and the handshake inside proves the proxy.
      if (believed.system || !isUntrusted(e)) throw e
      return dial(address, handlers, attempt, { ...trust, system: true })
    })
  const tunnels = createTunnels({
    proxies: () => profile.proxies,
    dial,
    clock,
    random,
    signal: ending.signal,
  })

  async function openOn(
    on: HeldTunnel,
    resource: ResourceName,
    route: FoundRoute,
    signal: AbortSignal,
  ): Promise<TunnelStream> {
    const kind = serviceOfResource(resource.kind)
    if (kind === 'discovery') throw new AppError('ERR_ROUTE_INVALID')
    const { cluster, hostCas } = profile
    const offer = await signOffer({
      cluster,
      route: route.jws,
      kind,
      resource,
      identity: credential,
      now: now(),
      random,
      resumable: true,
    })
    const open = encodeOpen({ v: 1, kind, route: route.jws, offer: offer.jws })
    const leg = await on.session.open(open, signal)
    // An agent that cannot resume answers without a word.
    if (leg.payload.length === 0) return leg
    try {
      const { key, certificate } = await readAccept(leg.payload, offer, (raw) =>
        checkAgent(raw, route.claims, hostCas, clock),
      )
      const agent = agentIdOf(certificate)
      const { sid } = offer.offer
      return keepResumable(
        { leg, on },
        {
          sid,
          key,
          clock,
          random,
          signal: ending.signal,
          reopen: (ask, s) => reopen({ ...ask, kind, resource }, agent, s),
          onResumed: options.onResumed,
        },
      )
    } catch (e) {
      leg.reset()
      throw e
    }
  }

  /** Asks the agent that has the stream to go on with it. */
  async function reopen(
    ask: Parameters<typeof signResume>[1],
    agent: AgentId,
    signal: AbortSignal,
  ): Promise<{ leg: TunnelStream; on: HeldTunnel }> {
    await refresh()
    const { resource, kind } = ask
    const [route, on] = await Promise.all([
      routes.find(resource as ResourceName, signal),
      tunnels.connected(),
    ])
    signal.throwIfAborted()
    const by = { cluster: profile.cluster, route: route.jws, identity: credential, now: now() }
    const payload = encodeOpen({
      v: 1,
      kind,
      route: route.jws,
      offer: await signResume(by, ask),
      ...(route.claims.agentIds.length > 1 && { agent }),
    })
    try {
      return { leg: await on.session.open(payload, signal), on }
    } catch (e) {
      const { code } = toAppError(e)
      if (NO_WAY.has(code)) on.retire()
      if (route.kept && code === 'ERR_ROUTE_INVALID') await routes.forget(resource as ResourceName)
      throw e
    }
  }

  /** Nobody known vouches for what answered: a rotation may have passed this profile by. */
  async function mayFollow(e: unknown): Promise<boolean> {
    const { mayBeOutdated } = await import('./follow-cas.ts')
    return mayBeOutdated(e) && (await follow())
  }

  async function attempt(
    resource: ResourceName,
    signal: AbortSignal,
    tries: number,
  ): Promise<OpenedResource | Again> {
    // Both take a round trip or more, and neither needs the other.
    const [route, on] = await Promise.all([
      routes.find(resource, signal),
      tunnels.connected(),
    ]).catch(async (e: unknown) => {
      if (tries > 0 || signal.aborted || !(await mayFollow(e))) throw e
      return Promise.all([routes.find(resource, signal), tunnels.connected()])
    })
    try {
      const stream = await openOn(on, resource, route, signal)
      return { stream, route: route.claims, protocol: route.protocol }
    } catch (e) {
      const again = toAppError(e)
      const stale = route.kept && STALE.has(again.code)
      // An agent that renewed under another CA since the kept route was asked for, which tells of none.
      const rotated = tries === 0 && again.code === 'ERR_CERT_INVALID' && (await follow())
      if (signal.aborted || !(stale || rotated || NO_WAY.has(again.code))) throw e
      if (NO_WAY.has(again.code)) on.retire()
      if (stale) await routes.forget(resource)
      return { again }
    }
  }

  return {
    get profile() {
      return profile
    },
    async open(resource, signal) {
      ending.signal.throwIfAborted()
      await refresh()
      const both = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal
      return persist((tries) => attempt(resource, both, tries), { clock, random, signal: both })
    },
    close,
  }
}

/**
 * The user's side of the tunnel: a route for each resource, one tunnel to a proxy, dialled when it is needed and again when it
 * broke, and a stream for each connection, asked for with an offer that the user's key signs.
 */
import type { CheckedRoute } from '../../core/api/route-check.ts'
import { instant, sleep, systemClock, type Clock } from '../../core/clock.ts'
import { AppError, toAppError, type ErrorCode } from '../../core/errors.ts'
import { systemRandom, type Random } from '../../core/random.ts'
import { encodeOpen, signOffer } from '../../core/tunnel/open.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { serviceOfResource } from '../../core/domain/service.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import { apiClient } from '../../net/http-client.ts'
import { connectTunnel, type ConnectedTunnel } from '../../net/tunnel-client.ts'
import { credentialOf, loadProfile, type Credential, type StoredProfile } from './profile.ts'
import { createRoutes, type FoundRoute } from './routes.ts'
import { trustOf } from './trust.ts'

export interface ProxySessionOptions {
  readonly profile: StoredProfile
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  /** Ends the session, and what is being opened. */
  readonly signal?: AbortSignal | undefined
  /** `HTTPS_PROXY` as the environment gives it. */
  readonly httpsProxy?: string | undefined
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

/** Rounds over all proxies before giving up, and the longest pause between two, ms: somebody is waiting. */
const ROUNDS = 4
const PAUSE = 1000
/** Certificates that end within this time are looked up again, ms: `postern up` and `login` renew them on disk. */
const RENEWED_BEFORE = 60_000

/** With a kept route these may mean that the world has moved on since. */
const STALE: ReadonlySet<ErrorCode> = new Set([
  'ERR_ROUTE_INVALID',
  'ERR_RESOURCE_OFFLINE',
  'ERR_CLOCK',
])

export function openProxySession(options: ProxySessionOptions): ProxySession {
  const clock = options.clock ?? systemClock
  const random = options.random ?? systemRandom
  const ending = new AbortController()
  let profile = options.profile
  let credential: Credential = credentialOf(profile)
  let tunnel: Promise<ConnectedTunnel> | undefined
  options.signal?.addEventListener('abort', close, { once: true })

  const trust = trustOf(profile)
  const api = apiClient({
    baseUrl: profile.api,
    trust,
    identity: () => credential,
    cluster: profile.cluster,
    clock,
    random,
    proxy: options.httpsProxy,
  })
  const now = () => instant(clock.now() + api.clockOffset)
  const routes = createRoutes({ profile: () => profile, api, now })

  function close(): void {
    ending.abort(new AppError('ERR_TUNNEL_CLOSED'))
    void tunnel?.then(({ session }) => session.close()).catch(() => undefined)
    tunnel = undefined
    api.close()
  }

  async function refresh(): Promise<void> {
    if (now() + RENEWED_BEFORE < profile.expires) return
    profile = await loadProfile(profile.dir)
    credential = credentialOf(profile)
    if (now() >= profile.expires)
      throw new AppError('ERR_PROFILE_MISSING', 'the certificates of this profile have expired')
  }

  const dial = (address: string, over: () => void): Promise<ConnectedTunnel> =>
    connectTunnel({
      url: `wss://${address}`,
      trust,
      cluster: profile.cluster,
      hostCas: profile.hostCas.map((pem) => readCertificate(pem)),
      identity: credential,
      purpose: 'user',
      clock,
      random,
      signal: ending.signal,
      proxy: options.httpsProxy,
      onOpen: (stream) => stream.refuse('ERR_TUNNEL_PROTOCOL', 'users take no streams'),
      // Its streams go on; new ones go through a new tunnel.
      onGoAway: over,
      onClose: over,
    })

  async function connect(over: () => void): Promise<ConnectedTunnel> {
    let last = new AppError('ERR_UNREACHABLE')
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0) await sleep(clock, random.float() * PAUSE, ending.signal)
      for (const address of profile.proxies) {
        try {
          return await dial(address, over)
        } catch (e) {
          last = toAppError(e)
          if (ending.signal.aborted || !last.kind.retryable) throw last
        }
      }
    }
    throw last
  }

  function connected(): Promise<ConnectedTunnel> {
    if (tunnel) return tunnel
    const over = (): void => {
      if (tunnel === attempt) tunnel = undefined
    }
    const attempt: Promise<ConnectedTunnel> = connect(over)
    tunnel = attempt
    attempt.catch(over)
    return attempt
  }

  async function openOn(
    { session }: ConnectedTunnel,
    resource: ResourceName,
    route: FoundRoute,
    signal: AbortSignal,
  ): Promise<TunnelStream> {
    const kind = serviceOfResource(resource.kind)
    if (kind === 'discovery') throw new AppError('ERR_ROUTE_INVALID')
    const offer = await signOffer({
      cluster: profile.cluster,
      route: route.jws,
      kind,
      resource,
      identity: credential,
      now: now(),
      random,
    })
    return session.open(encodeOpen({ v: 1, kind, route: route.jws, offer: offer.jws }), signal)
  }

  async function attempt(
    resource: ResourceName,
    signal: AbortSignal,
    mayRepeat: boolean,
  ): Promise<OpenedResource> {
    // Both take a round trip or more, and neither needs the other.
    const [route, on] = await Promise.all([routes.find(resource, signal), connected()])
    try {
      const stream = await openOn(on, resource, route, signal)
      return { stream, route: route.claims, protocol: route.protocol }
    } catch (e) {
      const { code } = toAppError(e)
      const stale = route.kept && STALE.has(code)
      if (!mayRepeat || signal.aborted || !(stale || code === 'ERR_TUNNEL_CLOSED')) throw e
      if (stale) await routes.forget(resource)
      return attempt(resource, signal, false)
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
      return attempt(resource, both, true)
    },
    close,
  }
}

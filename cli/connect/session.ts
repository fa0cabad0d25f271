/**
 * The user's side of the tunnel: routes, one tunnel to a proxy, streams to resources. (Surface first; implementation follows.)
 */
import type { Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import type { RouteClaims } from '../../core/api/route.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import type { StoredProfile } from './profile.ts'

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
  readonly route: RouteClaims
  /** For apps: how to speak to it. */
  readonly protocol: 'tcp' | 'http' | undefined
}

export interface ProxySession {
  /**
   * Asks for a route (or takes the cached one), dials a proxy when no tunnel is open, and opens a stream. Rejects with what
   * the proxy or the agent refused with.
   */
  open(resource: ResourceName, signal?: AbortSignal): Promise<OpenedResource>
  /** Ends the tunnel and all of its streams. */
  close(): void
}

export declare function openProxySession(options: ProxySessionOptions): ProxySession

/**
 * The proxy: agents and users dial in, users' streams are spliced to the agents that serve them. It finds the way and decides
 * nothing about access: what passes through it is end-to-end TLS or SSH. (Surface first; implementation follows.)
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { KeyObject } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { Signer } from '../core/certs/signer.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Discovery } from '../core/domain/cluster.ts'
import type { PresenceStore } from '../core/domain/presence.ts'
import type { TunnelLimits } from '../core/tunnel/tunnel-limits.ts'
import type { AdmissionLimits } from './admission.ts'
import type { PolicySource } from './policy-source.ts'
import type { ProxyStats } from './counters.ts'

export interface ProxyLog {
  info(event: string, fields?: Record<string, unknown>): void
  warn(event: string, fields?: Record<string, unknown>): void
  error(event: string, fields?: Record<string, unknown>): void
}

export interface ProxyDeps {
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
  /** What `GET /.well-known/postern` answers here; without it that path is not served by `handleRequest`. */
  discovery?(): Discovery
  readonly clock: Clock
  readonly random: Random
  readonly log: ProxyLog
  /** Overrides for tests; the defaults are LIMITS. */
  readonly limits?: Partial<AdmissionLimits> | undefined
  readonly tunnelLimits?: Partial<TunnelLimits> | undefined
}

export interface Proxy {
  /**
   * Takes the lease and reads the policy, then keeps both fresh. Resolves when the proxy accepts tunnels, which needs the
   * lease alone; a control plane that is still away is asked again every second.
   */
  start(): Promise<void>
  /** For the HTTP server's `upgrade` event. Never throws; answers with HTTP when it refuses. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** `GET /healthz`, `/readyz`, `/.well-known/postern`. False: not one of these, nothing was written. */
  handleRequest(request: IncomingMessage, response: ServerResponse): boolean
  /** Takes nothing new, tells every peer to come back in a while, and closes when all have left or after `ms`. */
  drain(ms: number): Promise<void>
  /** Ends every tunnel and the lease at once. Idempotent. */
  close(): Promise<void>
  stats(): ProxyStats
}

export declare function createProxy(deps: ProxyDeps): Proxy

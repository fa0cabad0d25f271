/** One attempt to reach a proxy: dial, upgrade, handshake, welcome. (Surface first; implementation follows.) */
import type { Clock } from '../core/clock.ts'
import type { ConnId, ProxyId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import type { Signer } from '../core/certs/signer.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Session, SessionHandlers } from '../core/tunnel/session.ts'
import type { TunnelLimits } from '../core/tunnel/tunnel-limits.ts'
import type { WindowBudget } from '../core/tunnel/window-budget.ts'
import type { Trust } from './trust.ts'

export type TunnelPurpose = 'agent' | 'user' | 'peer'

export interface TunnelClientOptions extends SessionHandlers {
  /** `wss://host:port` (the path is `/v1/tunnel`). `ws://` is for tests on loopback only. */
  readonly url: string
  readonly trust: Trust
  readonly cluster: string
  /** The cluster's host CAs: the proxy's certificate must chain to one. */
  readonly hostCas: readonly Certificate[]
  readonly identity: { readonly certificate: Certificate; readonly signer: Signer }
  readonly purpose: TunnelPurpose
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  readonly budget?: WindowBudget | undefined
  readonly signal?: AbortSignal | undefined
  /** `HTTPS_PROXY` as the environment gives it. */
  readonly proxy?: string | undefined
  readonly limits?: Partial<TunnelLimits> | undefined
}
export interface ConnectedTunnel {
  readonly session: Session
  readonly proxyId: ProxyId
  readonly connId: ConnId
  /** How many proxies the cluster has now. */
  readonly liveProxies: number
}
/**
 * Rejects with ERR_UNREACHABLE, ERR_TIMEOUT, ERR_TUNNEL_HANDSHAKE, ERR_TUNNEL_VERSION, or what the proxy refused with
 * (ERR_TUNNEL_ALREADY_HERE, ERR_LOCKED, …).
 */
export declare function connectTunnel(options: TunnelClientOptions): Promise<ConnectedTunnel>

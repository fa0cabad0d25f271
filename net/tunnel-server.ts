/** The proxy's half of the handshake on an upgraded WebSocket. (Surface first; implementation follows.) */
import type { WebSocket, WebSocketServer } from 'ws'
import type { AppError } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import type { ConnId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import type { Identity } from '../core/certs/identity.ts'
import type { Signer } from '../core/certs/signer.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Session } from '../core/tunnel/session.ts'
import type { TunnelStream } from '../core/tunnel/stream.ts'
import type { TunnelLimits } from '../core/tunnel/tunnel-limits.ts'
import type { WindowBudget } from '../core/tunnel/window-budget.ts'
import type { TunnelPurpose } from './tunnel-client.ts'

export const TUNNEL_PATH = '/v1/tunnel'

/** A `noServer` WebSocket server with the limits and the subprotocol of the tunnel; the listener calls its handleUpgrade. */
export declare function tunnelWebSocketServer(): WebSocketServer

export interface AcceptedTunnel {
  readonly session: Session
  /** Verified: chain, time and possession of the key. */
  readonly identity: Identity
  readonly certificate: Certificate
  readonly purpose: TunnelPurpose
  readonly connId: ConnId
}
export interface TunnelServerOptions {
  readonly cluster: string
  /** The proxy's own identity, `spiffe://<cluster>/proxy/<id>`. */
  readonly identity: { readonly certificate: Certificate; readonly signer: Signer }
  /** CAs of agents and proxies, and of users. Functions, because they rotate. */
  hostCas(): readonly Certificate[]
  userCas(): readonly Certificate[]
  /** Is this `host:port` (lower case, port always given) one of our public addresses? Else the client was lured here. */
  isOwnAddress(dialled: string): boolean
  liveProxies(): number
  readonly clock: Clock
  readonly random: Random
  readonly budget: WindowBudget
  /** Throws (or rejects with) an AppError to refuse: ERR_LOCKED, ERR_TUNNEL_ALREADY_HERE, … Runs before `welcome`. */
  authorise(identity: Identity, purpose: TunnelPurpose, connId: ConnId): void | Promise<void>
  onOpen(stream: TunnelStream, payload: Buffer, tunnel: AcceptedTunnel): void
  onSuspect?: ((suspect: boolean, tunnel: AcceptedTunnel) => void) | undefined
  onClose?: ((err: AppError | undefined, tunnel: AcceptedTunnel) => void) | undefined
  readonly limits?: Partial<TunnelLimits> | undefined
}
/**
 * Resolves with an open tunnel, or rejects with why not (the peer was told and the socket is closed by then). Every step has
 * a deadline. Never leaves a socket open that it rejected.
 */
export declare function acceptTunnel(
  ws: WebSocket,
  options: TunnelServerOptions,
): Promise<AcceptedTunnel>

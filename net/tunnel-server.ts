/** The proxy's half of the handshake on an upgraded WebSocket, and the server that upgrades. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Identity } from '../core/certs/identity.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import type { Clock, Instant } from '../core/clock.ts'
import { issuedAt } from '../core/domain/departure.ts'
import { toAppError, type AppError } from '../core/errors.ts'
import { newId, type ConnId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'
import { checkProofMessage, makeChallenge, type OwnIdentity } from '../core/tunnel/handshake.ts'
import { decodeHello, decodeProof, type TunnelPurpose } from '../core/tunnel/handshake-messages.ts'
import { createSession, type Session } from '../core/tunnel/session.ts'
import type { TunnelStream } from '../core/tunnel/stream.ts'
import { limitsWith, type TunnelLimits } from '../core/tunnel/tunnel-limits.ts'
import { SUBPROTOCOL } from '../core/tunnel/version.ts'
import type { WindowBudget } from '../core/tunnel/window-budget.ts'
import { HandshakeChannel } from './handshake-channel.ts'
import type { WebSocketLink } from './websocket/link.ts'
import { acceptUpgrade } from './websocket/upgrade.ts'

export { PEER_QUERY, TUNNEL_PATH } from './tunnel-path.ts'

export type { WebSocketLink }

/** Upgrades what asks for a tunnel; the listener calls it on its server's `upgrade` event. */
export function tunnelUpgrade(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  clock: Clock,
  onLink: (link: WebSocketLink) => void,
): void {
  acceptUpgrade(request, socket, head, { subprotocol: SUBPROTOCOL, clock }, onLink)
}

export interface AcceptedTunnel {
  readonly session: Session
  /** Verified: chain, time and possession of the key. The certificate itself is not kept: it would be a fifth of an idle tunnel. */
  readonly identity: Identity
  /** When that certificate was issued. */
  readonly issued: Instant
  readonly purpose: TunnelPurpose
  readonly connId: ConnId
}

export interface TunnelServerOptions {
  readonly cluster: string
  /** The proxy's own identity, `spiffe://<cluster>/proxy/<id>`. */
  readonly identity: OwnIdentity
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
  authorise(
    identity: Identity,
    purpose: TunnelPurpose,
    connId: ConnId,
    certificate: Certificate,
  ): void | Promise<void>
  onOpen(stream: TunnelStream, payload: Buffer, tunnel: AcceptedTunnel): void | Promise<void>
  onGoAway?: ((tunnel: AcceptedTunnel) => void) | undefined
  onSuspect?: ((suspect: boolean, tunnel: AcceptedTunnel) => void) | undefined
  onClose?: ((err: AppError | undefined, tunnel: AcceptedTunnel) => void) | undefined
  onCallbackError?: ((error: unknown) => void) | undefined
  readonly limits?: Partial<TunnelLimits> | undefined
}

/**
 * Resolves with an open tunnel, or rejects with why not (the peer was told and the socket is closing by then). One deadline
 * covers everything from here to `welcome`.
 */
export async function acceptTunnel(
  link: WebSocketLink,
  options: TunnelServerOptions,
): Promise<AcceptedTunnel> {
  // Nobody has proven anything yet, and nothing but the next message of the handshake may come.
  const early = LIMITS.handshakeMessage.value
  const channel = new HandshakeChannel(link, options.clock, LIMITS.handshakeTimeout.value, early)
  try {
    return await shakeHands(channel, options)
  } catch (e) {
    const err = toAppError(e)
    refuse(channel, err)
    throw err
  }
}

/** The code and the safe message only; the exact reason stays with whoever called acceptTunnel. */
function refuse(channel: HandshakeChannel, err: AppError): void {
  try {
    channel.send({ type: 'refused', code: err.code, message: err.message.slice(0, 256) })
  } catch {
    // The connection is over already; there is nobody to tell.
  }
  channel.fail(err)
}

async function shakeHands(
  channel: HandshakeChannel,
  options: TunnelServerOptions,
): Promise<AcceptedTunnel> {
  const { cluster, clock } = options
  const said = await channel.receive(decodeHello)
  const ours = await makeChallenge(said, {
    cluster,
    identity: options.identity,
    liveProxies: options.liveProxies(),
    random: options.random,
    isOwnAddress: (dialled) => options.isOwnAddress(dialled),
  })
  channel.send(ours)
  const { identity, certificate } = checkProofMessage(
    said,
    ours,
    await channel.receive(decodeProof),
    {
      cluster,
      hostCas: options.hostCas(),
      userCas: options.userCas(),
      now: clock.now(),
    },
  )
  const { purpose } = said
  const connId = newId('conn', clock.now(), options.random)
  await options.authorise(identity, purpose, connId, certificate)
  return begin(channel, options, { identity, issued: issuedAt(certificate), purpose, connId })
}

/** Apart from the handshake, because a session keeps what its callbacks could see: certificates and nonces would stay with it. */
function begin(
  channel: HandshakeChannel,
  options: TunnelServerOptions,
  proven: Omit<AcceptedTunnel, 'session'>,
): AcceptedTunnel {
  const { clock, budget } = options
  const limits = limitsWith(options.limits)
  channel.send({
    type: 'welcome',
    connId: proven.connId,
    keepAlive: { pingIdleMs: limits.pingIdle, deadAfterMs: limits.deadAfter },
  })
  return channel.become((transport) => {
    // Its callbacks come later than this turn, when `tunnel` stands.
    const session = createSession(transport, {
      side: 'server',
      clock,
      budget,
      limits,
      onOpen: (stream, payload) => options.onOpen(stream, payload, tunnel),
      onGoAway: () => options.onGoAway?.(tunnel),
      onSuspect: (suspect) => options.onSuspect?.(suspect, tunnel),
      onClose: (err) => options.onClose?.(err, tunnel),
      onCallbackError: options.onCallbackError,
    })
    const tunnel: AcceptedTunnel = { ...proven, session }
    return tunnel
  })
}

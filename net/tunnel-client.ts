/** One attempt to reach a proxy: dial, upgrade, handshake, welcome. Whoever wants another attempt calls again. */
import type { IncomingMessage } from 'node:http'
import { problemError } from '../core/api/problem.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import { systemClock, type Clock } from '../core/clock.ts'
import { AppError, isAppError, reasonOf, toAppError } from '../core/errors.ts'
import { parseId, type ConnId, type ProxyId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import { systemRandom, type Random } from '../core/random.ts'
import {
  checkChallenge,
  dialledAddress,
  makeHello,
  makeProof,
  type OwnIdentity,
} from '../core/tunnel/handshake.ts'
import {
  decodeChallenge,
  decodeWelcome,
  type TunnelPurpose,
} from '../core/tunnel/handshake-messages.ts'
import { createSession, type Session, type SessionHandlers } from '../core/tunnel/session.ts'
import { TUNNEL_LIMITS, type TunnelLimits } from '../core/tunnel/tunnel-limits.ts'
import { SUBPROTOCOL } from '../core/tunnel/version.ts'
import { createWindowBudget, type WindowBudget } from '../core/tunnel/window-budget.ts'
import { dial } from './dial.ts'
import { HandshakeChannel } from './handshake-channel.ts'
import { checkScheme } from './http-exchange.ts'
import { tlsOptions, type Trust } from './trust.ts'
import { PEER_QUERY, TUNNEL_PATH } from './tunnel-path.ts'
import { requestUpgrade, type Upgraded } from './websocket/upgrade.ts'
import type { ForwardProxy } from './forward-proxy.ts'

export type { TunnelPurpose }

export interface TunnelClientOptions extends SessionHandlers {
  /** `wss://host:port`; the path is ours. `ws://` is for tests on loopback only. */
  readonly url: string
  readonly trust: Trust
  readonly cluster: string
  /** The cluster's host CAs: the proxy's certificate must chain to one. */
  readonly hostCas: readonly Certificate[]
  readonly identity: OwnIdentity
  readonly purpose: TunnelPurpose
  /** Called with the proxy that was proven, before this side proves itself; throws to leave it alone. */
  readonly accept?: ((proxyId: ProxyId, liveProxies: number) => void) | undefined
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  /** Default: one budget for this process. */
  readonly budget?: WindowBudget | undefined
  readonly signal?: AbortSignal | undefined
  readonly proxy?: ForwardProxy | undefined
  readonly limits?: Partial<TunnelLimits> | undefined
}
export interface ConnectedTunnel {
  readonly session: Session
  readonly proxyId: ProxyId
  readonly connId: ConnId
  /** How many proxies the cluster has now. */
  readonly liveProxies: number
}

const processBudget = createWindowBudget()

/**
 * Rejects with ERR_UNREACHABLE, ERR_TIMEOUT, ERR_TUNNEL_HANDSHAKE, ERR_TUNNEL_VERSION, or what the proxy refused with
 * (ERR_TUNNEL_ALREADY_HERE, ERR_LOCKED, …). The signal ends the attempt, not the tunnel that came of it.
 */
export async function connectTunnel(options: TunnelClientOptions): Promise<ConnectedTunnel> {
  const url = new URL(TUNNEL_PATH + (options.purpose === 'peer' ? PEER_QUERY : ''), options.url)
  checkScheme(url)
  const clock = options.clock ?? systemClock
  const { link, head } = await upgrade(url, options, clock)
  // Frames may follow `welcome` at once.
  const early = LIMITS.messageMax.value
  const channel = new HandshakeChannel(link, clock, LIMITS.handshakeTimeout.value, early)
  link.start(head)
  const onAbort = () => channel.fail(toAppError(options.signal?.reason))
  options.signal?.addEventListener('abort', onAbort, { once: true })
  try {
    if (options.signal?.aborted) onAbort()
    return await shakeHands(channel, url, options, clock)
  } catch (e) {
    const err = toAppError(e)
    channel.fail(err)
    throw options.signal?.aborted ? options.signal.reason : err
  } finally {
    options.signal?.removeEventListener('abort', onAbort)
  }
}

async function shakeHands(
  channel: HandshakeChannel,
  url: URL,
  options: TunnelClientOptions,
  clock: Clock,
): Promise<ConnectedTunnel> {
  const { cluster, hostCas } = options
  const hello = makeHello(options.purpose, dialledAddress(url), options.random ?? systemRandom)
  channel.send(hello)
  const said = await channel.receive(decodeChallenge)
  const proxyId = checkChallenge(hello, said, { cluster, hostCas, now: clock.now() })
  options.accept?.(proxyId, said.liveProxies)
  channel.send(await makeProof(hello, said, options.identity))
  const { connId: text, keepAlive } = await channel.receive(decodeWelcome)
  const connId = parseId('conn', text)
  if (!connId) throw new AppError('ERR_TUNNEL_PROTOCOL', undefined, { internal: 'welcome: connId' })
  const wanted = { ...TUNNEL_LIMITS, ...options.limits }
  const limits = {
    ...wanted,
    pingIdle: Math.min(wanted.pingIdle, Math.max(1000, keepAlive.pingIdleMs)),
    deadAfter: Math.min(wanted.deadAfter, Math.max(3000, keepAlive.deadAfterMs)),
  }
  const budget = options.budget ?? processBudget
  const session = channel.become((transport) =>
    createSession(transport, { ...handlersOf(options), side: 'client', clock, budget, limits }),
  )
  return { session, proxyId, connId, liveProxies: said.liveProxies }
}

const handlersOf = (o: SessionHandlers): SessionHandlers => ({
  onOpen: (stream, payload) => o.onOpen(stream, payload),
  onGoAway: o.onGoAway,
  onSuspect: o.onSuspect,
  onClose: o.onClose,
  onCallbackError: o.onCallbackError,
})

type Link = Extract<Upgraded, { link: unknown }>

/** Dials, then upgrades: each has its deadline. The first rejected certificate or status ends it. */
export async function upgrade(
  url: URL,
  options: Pick<TunnelClientOptions, 'trust' | 'proxy' | 'signal'>,
  clock: Clock,
): Promise<Link> {
  const secure = url.protocol === 'wss:'
  const socket = await dial({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || (secure ? 443 : 80)),
    tls: secure ? tlsOptions({ ...options.trust, anyProxy: true }) : undefined,
    proxy: secure ? options.proxy : undefined,
    timeout: LIMITS.dialTimeout.value,
    clock,
    signal: options.signal,
  })
  let gaveUp: Error | undefined
  const giveUp = (why: unknown) => {
    gaveUp ??= why as Error
    socket.destroy()
  }
  const onAbort = () => giveUp(options.signal?.reason)
  const timer = clock.after(LIMITS.handshakeTimeout.value, () =>
    giveUp(new AppError('ERR_TIMEOUT', `${url.host} did not upgrade in time`)),
  )
  options.signal?.addEventListener('abort', onAbort, { once: true })
  try {
    options.signal?.throwIfAborted()
    const upgraded = await requestUpgrade(url, socket, { subprotocol: SUBPROTOCOL, clock })
    if ('link' in upgraded) return upgraded
    throw await refusal(upgraded.refused)
  } catch (e) {
    socket.destroy()
    if (gaveUp !== undefined) throw gaveUp
    if (isAppError(e) || options.signal?.aborted) throw e
    throw new AppError('ERR_UNREACHABLE', `${url.host} does not speak ${SUBPROTOCOL}`, {
      cause: e,
      internal: reasonOf(e),
    })
  } finally {
    timer.cancel()
    options.signal?.removeEventListener('abort', onAbort)
  }
}

/** The problem document of an answer that is no upgrade, as an error. */
function refusal(response: IncomingMessage): Promise<AppError> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    let bytes = 0
    const end = () =>
      resolve(
        problemError({
          status: response.statusCode ?? 0,
          body: Buffer.concat(parts),
          retryAfter: response.headers['retry-after'],
        }),
      )
    response.on('data', (part: Buffer) => {
      bytes += part.length
      if (bytes > REFUSAL_MAX) end()
      else parts.push(part)
    })
    response.on('end', end)
    response.on('error', end)
  })
}

/** Body of a refused upgrade that is read; the rest is dropped. */
const REFUSAL_MAX = 16 * 1024

/** One attempt to reach a proxy: dial, upgrade, handshake, welcome. Whoever wants another attempt calls again. */
import type { IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import { problemError } from '../core/api/problem.ts'
import type { Certificate } from '../core/certs/x509-read.ts'
import { systemClock, type Clock } from '../core/clock.ts'
import { AppError, toAppError } from '../core/errors.ts'
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
import { TUNNEL_PATH } from './tunnel-path.ts'

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
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  /** Default: one budget for this process. */
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

const processBudget = createWindowBudget()

/**
 * Rejects with ERR_UNREACHABLE, ERR_TIMEOUT, ERR_TUNNEL_HANDSHAKE, ERR_TUNNEL_VERSION, or what the proxy refused with
 * (ERR_TUNNEL_ALREADY_HERE, ERR_LOCKED, …). The signal ends the attempt, not the tunnel that came of it.
 */
export async function connectTunnel(options: TunnelClientOptions): Promise<ConnectedTunnel> {
  const url = new URL(TUNNEL_PATH, options.url)
  checkScheme(url)
  const clock = options.clock ?? systemClock
  const ws = await upgrade(url, options, clock)
  // Frames may follow `welcome` at once.
  const early = LIMITS.messageMax.value
  const channel = new HandshakeChannel(ws, clock, LIMITS.handshakeTimeout.value, early)
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

/** Body of a refused upgrade that is read; the rest is dropped. */
const REFUSAL_MAX = 16 * 1024

/** Dials, then upgrades: each has its deadline. The first rejected certificate or status ends it. */
export async function upgrade(
  url: URL,
  options: Pick<TunnelClientOptions, 'trust' | 'proxy' | 'signal'>,
  clock: Clock,
): Promise<WebSocket> {
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
  const ws = new WebSocket(url, SUBPROTOCOL, {
    createConnection: () => socket,
    perMessageDeflate: false,
    maxPayload: LIMITS.messageMax.value,
    autoPong: false,
    followRedirects: false,
    // TLS hides the bytes from what the mask of RFC 6455 section 10.3 protects; a zero mask costs nothing.
    ...(secure ? { generateMask: (mask: Buffer) => void mask.fill(0) } : {}),
  })
  return new Promise((resolve, reject) => {
    const done = (err?: Error) => {
      timer.cancel()
      options.signal?.removeEventListener('abort', onAbort)
      ws.removeAllListeners()
      if (!err) return resolve(ws)
      ws.on('error', () => undefined)
      ws.terminate()
      socket.destroy()
      reject(err)
    }
    const onAbort = () => done(options.signal?.reason as Error)
    const timer = clock.after(LIMITS.handshakeTimeout.value, () =>
      done(new AppError('ERR_TIMEOUT', `${url.host} did not upgrade in time`)),
    )
    options.signal?.addEventListener('abort', onAbort, { once: true })
    if (options.signal?.aborted) return onAbort()
    ws.once('open', () => done())
    ws.once('error', (cause) =>
      done(
        new AppError('ERR_UNREACHABLE', `${url.host} does not speak ${SUBPROTOCOL}`, {
          cause,
          internal: cause.message,
        }),
      ),
    )
    ws.once('close', () => done(new AppError('ERR_UNREACHABLE', `${url.host} hung up`)))
    ws.once('unexpected-response', (_request, response: IncomingMessage) => refusal(response, done))
  })
}

function refusal(response: IncomingMessage, done: (err: Error) => void): void {
  const parts: Buffer[] = []
  let bytes = 0
  const end = () =>
    done(
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
}

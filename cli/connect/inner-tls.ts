/**
 * TLS inside the stream, from the user's side to the agent (protocols.md 5): the proxy in between sees ciphertext only. The
 * agent is the one that the route names, proven by a certificate of the host CA; the user is proven by the user's certificate.
 */
import { connect as tlsConnect, type TLSSocket } from 'node:tls'
import type { CheckedRoute } from '../../core/api/route-check.ts'
import { agentUri } from '../../core/certs/identity.ts'
import { verifyLeaf } from '../../core/certs/x509-verify.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError, isAppError, toAppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { toDuplex } from '../../core/tunnel/duplex.ts'
import {
  checkInnerAnswer,
  encodeInnerHello,
  INNER_ALPN,
  readInnerFrame,
} from '../../core/tunnel/inner.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import type { StoredProfile } from './profile.ts'

/** Whether this is the agent that the route named. Throws ERR_CERT_INVALID with the exact reason in `internal`. */
export function checkAgent(
  raw: Buffer,
  route: Pick<CheckedRoute, 'aud' | 'agentIds' | 'service'>,
  hostCas: readonly string[],
  clock: Clock,
): void {
  const certificate = readCertificate(raw)
  const roots = hostCas.map((pem) => readCertificate(pem))
  verifyLeaf(certificate, { roots, now: clock.now(), usage: 'server' })
  const [uri, ...more] = certificate.uris
  const wanted = route.agentIds.map((id) => agentUri(route.aud, id, route.service))
  if (more.length > 0 || uri === undefined || !wanted.includes(uri))
    throw new AppError('ERR_CERT_INVALID', 'the agent is not the one that serves this resource', {
      internal: `agent certificate names ${certificate.uris.join(', ')}`,
    })
}

export interface InnerOptions {
  readonly stream: TunnelStream
  readonly route: CheckedRoute
  readonly profile: StoredProfile
  readonly name: string
  readonly clock: Clock
  /** Aborts the handshake. */
  readonly signal: AbortSignal
}

function handshake(socket: TLSSocket, options: InnerOptions, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (e: unknown): void => reject(e instanceof Error ? e : new Error(String(e)))
    const onAbort = (): void => fail(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', fail)
    socket.once('close', () => fail(new AppError('ERR_STREAM_RESET')))
    socket.once('secureConnect', () => {
      try {
        const peer = socket.getPeerX509Certificate()
        if (!peer) throw new AppError('ERR_CERT_INVALID', 'the agent shows no certificate')
        checkAgent(peer.raw, options.route, options.profile.hostCas, options.clock)
        if (socket.alpnProtocol !== INNER_ALPN)
          throw new AppError('ERR_TUNNEL_VERSION', 'the agent speaks another protocol')
        resolve()
      } catch (e) {
        fail(e)
      }
    })
  })
}

/**
 * A socket whose bytes are the resource's own. Rejects with what the agent refused with, ERR_CERT_INVALID when it is not the
 * right agent, ERR_TIMEOUT, ERR_STREAM_RESET; the stream is reset then.
 */
export async function openInner(options: InnerOptions): Promise<TLSSocket> {
  const { stream, profile, clock } = options
  const deadline = new AbortController()
  const timer = clock.after(LIMITS.handshakeTimeout.value, () =>
    deadline.abort(new AppError('ERR_TIMEOUT')),
  )
  const signal = AbortSignal.any([options.signal, deadline.signal])
  const duplex = toDuplex(stream)
  let reset: AppError | undefined
  duplex.on('error', (e) => {
    reset = isAppError(e) ? e : undefined
  })
  const socket = tlsConnect({
    socket: duplex,
    ca: [...profile.hostCas],
    cert: profile.certificatePem,
    key: profile.keyPem,
    minVersion: 'TLSv1.3',
    ALPNProtocols: [INNER_ALPN],
    // No host has a name here: the route says whose certificate it must be, and checkAgent looks.
    checkServerIdentity: () => undefined,
  })
  try {
    await handshake(socket, options, signal)
    socket.write(encodeInnerHello(options.name))
    checkInnerAnswer(await readInnerFrame(socket, signal))
    return socket
  } catch (e) {
    socket.on('error', () => undefined)
    socket.destroy()
    stream.reset()
    throw reset ?? asFailure(e)
  } finally {
    timer.cancel()
  }
}

/** TLS errors name files and libraries; the person needs to know which half failed. */
function asFailure(e: unknown): AppError {
  if (isAppError(e)) return e
  const internal = toAppError(e).internal ?? ''
  const { code } = e as NodeJS.ErrnoException
  return code?.startsWith('ERR_SSL') || code?.includes('CERT') || code?.includes('SIGNATURE')
    ? new AppError('ERR_CERT_INVALID', 'TLS to the agent failed', { internal, cause: e })
    : new AppError('ERR_STREAM_RESET', undefined, { internal, cause: e })
}

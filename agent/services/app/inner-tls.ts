/**
 * The agent's end of the TLS that the user's side opens inside a stream (protocols.md 5.2): version 1.3, our ALPN, a certificate
 * of the user CA for clients, no tickets, no resumption. Whoever relays the stream sees ciphertext.
 */
import { constants } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { createSecureContext, TLSSocket, type SecureContext } from 'node:tls'
import { identityOf, type UserIdentity } from '../../../core/certs/identity.ts'
import { readCertificate, type Certificate } from '../../../core/certs/x509-read.ts'
import { verifyLeaf } from '../../../core/certs/x509-verify.ts'
import type { Clock } from '../../../core/clock.ts'
import { AppError, toAppError } from '../../../core/errors.ts'
import { INNER_ALPN } from '../../../core/tunnel/inner.ts'
import type { PolicyView, ServiceCredential } from '../service.ts'

export interface InnerTlsDeps {
  readonly clock: Clock
  readonly policy: Pick<PolicyView, 'userCas'>
  credential(): ServiceCredential
}

export interface InnerTls {
  /** Rejects with ERR_PROOF_INVALID or the signal's reason; the socket is destroyed by then. */
  accept(
    duplex: Duplex,
    signal: AbortSignal,
  ): Promise<{ readonly socket: TLSSocket; readonly identity: UserIdentity }>
}

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `inner TLS: ${internal}`, cause })

export function createInnerTls(deps: InnerTlsDeps): InnerTls {
  let made:
    { readonly key: string; readonly context: SecureContext; roots: Certificate[] } | undefined

  /** Made anew when the credential was renewed or the user CAs changed. */
  function current(): { context: SecureContext; roots: Certificate[] } {
    const { keyPem, x509Pem } = deps.credential()
    const ca = [...deps.policy.userCas().x509Pems]
    const key = [x509Pem, ...ca].join('')
    if (made?.key !== key)
      made = {
        key,
        roots: ca.map((pem) => readCertificate(pem)),
        context: createSecureContext({
          key: keyPem,
          cert: x509Pem,
          ca,
          minVersion: 'TLSv1.3',
          secureOptions: constants.SSL_OP_NO_TICKET,
        }),
      }
    return made
  }

  /** Node checks the peer's chain only in tls.Server, so everything is checked here; TLS itself proved the key. */
  function check(socket: TLSSocket, roots: readonly Certificate[]): UserIdentity {
    if (socket.getProtocol() !== 'TLSv1.3') throw refuse('not TLS 1.3')
    if (socket.alpnProtocol !== INNER_ALPN) throw refuse('another ALPN')
    if (socket.isSessionReused()) throw refuse('a resumed session')
    const peer = socket.getPeerX509Certificate()
    if (!peer) throw refuse('no certificate')
    const certificate = readCertificate(peer.raw)
    verifyLeaf(certificate, { roots, now: deps.clock.now(), usage: 'client' })
    const identity = identityOf(certificate)
    if (identity.kind !== 'user') throw refuse('not a user')
    return identity
  }

  return {
    accept(duplex, signal) {
      const { context, roots } = current()
      const socket = new TLSSocket(duplex, {
        isServer: true,
        secureContext: context,
        requestCert: true,
        rejectUnauthorized: true,
        ALPNProtocols: [INNER_ALPN],
      })
      return new Promise((resolve, reject) => {
        const stop = (error: unknown): void => {
          settle()
          // Late errors of a socket that is being thrown away.
          socket.on('error', () => undefined)
          socket.destroy()
          reject(toAppError(error))
        }
        const onSecure = (): void => {
          try {
            const identity = check(socket, roots)
            settle()
            resolve({ socket, identity })
          } catch (e) {
            stop(e)
          }
        }
        const onError = (e: Error): void => stop(refuse(e.message, e))
        const onClose = (): void => stop(refuse('closed in the middle of the handshake'))
        const onAbort = (): void => stop(signal.reason)
        const settle = (): void => {
          socket.off('secure', onSecure)
          socket.off('error', onError)
          socket.off('close', onClose)
          duplex.off('end', onClose)
          signal.removeEventListener('abort', onAbort)
        }
        if (signal.aborted) return onAbort()
        socket.on('secure', onSecure)
        socket.on('error', onError)
        socket.on('close', onClose)
        // TLS keeps waiting for the rest of a handshake that will not come.
        duplex.on('end', onClose)
        signal.addEventListener('abort', onAbort, { once: true })
      })
    },
  }
}

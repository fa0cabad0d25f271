/**
 * One HTTPS listener for both: requests go to the control plane, upgrades to the proxy; or one of the two alone. Behind a load
 * balancer that ends TLS it is plain HTTP. Everything that comes in is capped
 * and bound to a deadline before any of our code sees it.
 */
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import { AppError } from '../../core/errors.ts'
import type { Network } from '../../core/certs/ip.ts'
import { LIMITS } from '../../core/limits.ts'
import { clientAddress } from '../../core/source-address.ts'
import { TUNNEL_PATH } from '../../net/tunnel-server.ts'
import type { ListenAddress } from '../listen.ts'
import { acceptInTurn } from './in-turn.ts'

export interface TlsMaterial {
  /** PEM. */
  readonly key: string
  /** PEM, leaf first, CA included: a client that pins sees the whole chain. */
  readonly chain: string
}

export interface Front {
  fetch(request: Request, peer: { readonly ip: string }): Promise<Response>
  /** Asked first. False: not for the proxy. */
  handleRequest(request: IncomingMessage, response: ServerResponse): boolean
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
}

export interface Listener {
  readonly port: number
  /** New connections get this certificate; those that are open go on. */
  setTls(tls: TlsMaterial): void
  /** Takes nothing new, and ends what is still open. */
  close(): Promise<void>
}

const CHECK_EVERY_MS = 2000

export function listen(server: Server | TlsServer, at: ListenAddress): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (e: NodeJS.ErrnoException) => {
      const why =
        e.code === 'EADDRINUSE'
          ? `another process listens on ${at.host}:${at.port}`
          : `cannot listen on ${at.host}:${at.port} (${e.code ?? e.message})`
      reject(new AppError('ERR_ADDRESS_UNUSABLE', why, { cause: e }))
    })
    server.listen({ host: at.host, port: at.port, backlog: LIMITS.acceptBacklog.value }, () => {
      const bound = server.address()
      resolve(typeof bound === 'object' && bound ? bound.port : at.port)
    })
  })
}

/** `tls` undefined: plain HTTP. `trustedProxies`: load balancers whose `X-Forwarded-For` counts. */
export async function openListener(
  at: ListenAddress,
  tls: TlsMaterial | undefined,
  front: Front,
  trustedProxies: readonly Network[] = [],
): Promise<Listener> {
  const toApp = getRequestListener(
    (request, env) => {
      const incoming = 'incoming' in env ? env.incoming : undefined
      const peer = incoming?.socket.remoteAddress ?? 'unknown'
      const forwarded = incoming?.headers['x-forwarded-for']?.toString()
      return front.fetch(request, { ip: clientAddress(peer, forwarded, trustedProxies) })
    },
    { overrideGlobalObjects: false },
  )
  const limits = {
    maxHeaderSize: LIMITS.httpHeaders.value,
    headersTimeout: LIMITS.handshakeTimeout.value,
    requestTimeout: LIMITS.httpTimeout.value,
    connectionsCheckingInterval: CHECK_EVERY_MS,
  }
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    if (!front.handleRequest(request, response)) void toApp(request, response)
  }
  const secure =
    tls &&
    createTlsServer(
      {
        ...limits,
        key: tls.key,
        cert: tls.chain,
        minVersion: 'TLSv1.2',
        ALPNProtocols: ['http/1.1'],
        handshakeTimeout: LIMITS.handshakeTimeout.value,
      },
      onRequest,
    )
  const server = secure ?? createServer(limits, onRequest)
  const turnAway = acceptInTurn(server)
  const sockets = new Set<Duplex>()
  server.on(secure ? 'secureConnection' : 'connection', (socket: Duplex) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // A peer that resets is no news; without a listener it would end the process.
    socket.on('error', () => socket.destroy())
  })
  secure?.on('tlsClientError', (_e, socket) => socket.destroy())
  server.on('clientError', (_e: Error, socket: Duplex) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')
    else socket.destroy()
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.url?.split('?')[0] === TUNNEL_PATH) front.handleUpgrade(request, socket, head)
    else socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n')
  })
  const port = await listen(server, at)
  // Later errors of the listening socket (too many open files) pass; connections are tried again by their clients.
  server.on('error', () => undefined)
  return {
    port,
    setTls: (next) => secure?.setSecureContext({ key: next.key, cert: next.chain }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        turnAway()
        server.closeAllConnections()
        for (const socket of sockets) socket.destroy()
      }),
  }
}

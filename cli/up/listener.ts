/**
 * One HTTPS listener for both: requests go to the control plane, upgrades to the proxy. Everything that comes in is capped
 * and bound to a deadline before any of our code sees it.
 */
import { createServer, type Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { TUNNEL_PATH } from '../../net/tunnel-server.ts'
import type { ListenAddress } from '../listen.ts'

export interface TlsMaterial {
  /** PEM. */
  readonly key: string
  /** PEM, leaf first, CA included: a client that pins sees the whole chain. */
  readonly chain: string
}

export interface Front {
  fetch(request: Request, peer: { readonly ip: string }): Promise<Response>
  /** False: not for the proxy. */
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

const HEALTH: ReadonlySet<string> = new Set(['/healthz', '/readyz'])
const CHECK_EVERY_MS = 2000

function listen(server: Server, at: ListenAddress): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (e: NodeJS.ErrnoException) => {
      const why =
        e.code === 'EADDRINUSE'
          ? `another process listens on ${at.host}:${at.port}`
          : `cannot listen on ${at.host}:${at.port} (${e.code ?? e.message})`
      reject(new AppError('ERR_ADDRESS_UNUSABLE', why, { cause: e }))
    })
    server.listen({ host: at.host, port: at.port }, () => {
      const bound = server.address()
      resolve(typeof bound === 'object' && bound ? bound.port : at.port)
    })
  })
}

export async function openListener(
  at: ListenAddress,
  tls: TlsMaterial,
  front: Front,
): Promise<Listener> {
  const toApp = getRequestListener(
    (request, env) => {
      const incoming = 'incoming' in env ? env.incoming : undefined
      return front.fetch(request, { ip: incoming?.socket.remoteAddress ?? 'unknown' })
    },
    { overrideGlobalObjects: false },
  )
  const server = createServer(
    {
      key: tls.key,
      cert: tls.chain,
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      maxHeaderSize: LIMITS.httpHeaders.value,
      headersTimeout: LIMITS.handshakeTimeout.value,
      requestTimeout: LIMITS.httpTimeout.value,
      handshakeTimeout: LIMITS.handshakeTimeout.value,
      connectionsCheckingInterval: CHECK_EVERY_MS,
    },
    (request, response) => {
      const path = request.url?.split('?')[0] ?? ''
      if (HEALTH.has(path) && front.handleRequest(request, response)) return
      void toApp(request, response)
    },
  )
  const sockets = new Set<Duplex>()
  server.on('secureConnection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // A peer that resets is no news; without a listener it would end the process.
    socket.on('error', () => socket.destroy())
  })
  server.on('tlsClientError', (_e, socket) => socket.destroy())
  server.on('clientError', (_e, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')
    else socket.destroy()
  })
  server.on('upgrade', (request, socket, head) => {
    if (request.url?.split('?')[0] === TUNNEL_PATH) front.handleUpgrade(request, socket, head)
    else socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n')
  })
  const port = await listen(server, at)
  // Later errors of the listening socket (too many open files) pass; connections are tried again by their clients.
  server.on('error', () => undefined)
  return {
    port,
    setTls: (next) => server.setSecureContext({ key: next.key, cert: next.chain }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
        for (const socket of sockets) socket.destroy()
      }),
  }
}

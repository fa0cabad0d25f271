/** From HTTP to a WebSocket (RFC 6455 section 4), both halves. No extension is asked for or granted. */
import { createHash, randomBytes } from 'node:crypto'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../core/clock.ts'
import { WebSocketLink } from './link.ts'

/** Section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const acceptOf = (key: string): string =>
  createHash('sha1')
    .update(key + GUID)
    .digest('base64')

const has = (header: string | undefined, token: string): boolean =>
  (header ?? '').split(',').some((part) => part.trim().toLowerCase() === token.toLowerCase())

/** What is wrong with a client's request (section 4.2.1): the status to answer with. */
function refusal(request: IncomingMessage, subprotocol: string): number | undefined {
  const { headers } = request
  if (request.method !== 'GET') return 405
  if (headers.upgrade?.toLowerCase() !== 'websocket') return 400
  if (headers['sec-websocket-version'] !== '13') return 426
  // What a body is, and what comes behind it, is read in two ways by those in between.
  if ((headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding']) return 400
  // 16 bytes in base64, no more and no less.
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(headers['sec-websocket-key'] ?? '')) return 400
  return has(headers['sec-websocket-protocol'], subprotocol) ? undefined : 400
}

/**
 * Answers an upgrade request. `onLink` must set the link's callbacks before it returns: reading begins then. What is no
 * WebSocket of this subprotocol gets a status and is closed.
 */
export function acceptUpgrade(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  options: { readonly subprotocol: string; readonly clock: Clock },
  onLink: (link: WebSocketLink) => void,
): void {
  const status = refusal(request, options.subprotocol)
  if (status !== undefined) {
    const more = status === 426 ? 'sec-websocket-version: 13\r\n' : ''
    // Not ended only: a peer that keeps its own end open would hold the connection, and its place among handshakes, for ever.
    socket.end(
      `HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncontent-length: 0\r\n${more}\r\n`,
      () => socket.destroy(),
    )
    return
  }
  socket.write(
    [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${acceptOf(request.headers['sec-websocket-key'] ?? '')}`,
      `Sec-WebSocket-Protocol: ${options.subprotocol}`,
      '\r\n',
    ].join('\r\n'),
  )
  // An HTTP server hands out net.Socket or tls.TLSSocket; the type of the event is wider.
  const link = new WebSocketLink(socket as Socket, { side: 'server', clock: options.clock })
  onLink(link)
  link.start(head)
}

export type Upgraded =
  | { readonly link: WebSocketLink; readonly head: Buffer }
  /** The server answered with something else. Its body has not been read. */
  | { readonly refused: IncomingMessage }

/** What is wrong with a server's answer (section 4.1). */
function mismatch(response: IncomingMessage, key: string, subprotocol: string): string | undefined {
  const { headers } = response
  if (headers.upgrade?.toLowerCase() !== 'websocket') return 'another upgrade'
  if (headers['sec-websocket-accept'] !== acceptOf(key)) return 'a wrong Sec-WebSocket-Accept'
  if (headers['sec-websocket-extensions']) return 'an extension that was not asked for'
  return headers['sec-websocket-protocol'] === subprotocol ? undefined : 'another subprotocol'
}

/**
 * Asks for the upgrade on a socket that is connected (and secured). Rejects with what went wrong on the network or in the
 * answer. No deadline of its own: whoever gives up destroys the socket. Nothing is read from the link before `start(head)`.
 */
export function requestUpgrade(
  url: URL,
  socket: Socket,
  options: { readonly subprotocol: string; readonly clock: Clock },
): Promise<Upgraded> {
  const secure = url.protocol === 'wss:'
  const key = randomBytes(16).toString('base64')
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      createConnection: () => socket,
      host: url.hostname,
      path: url.pathname + url.search,
      headers: {
        Host: url.host,
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': key,
        'Sec-WebSocket-Protocol': options.subprotocol,
      },
    })
    request.once('error', reject)
    request.once('response', (refused) => resolve({ refused }))
    request.once('upgrade', (response, upgraded: Socket, head) => {
      // Between here and the link's own listener an error must not end the process.
      upgraded.on('error', () => undefined)
      const wrong = mismatch(response, key, options.subprotocol)
      if (wrong) {
        upgraded.destroy()
        return reject(new Error(wrong))
      }
      // TLS hides the bytes from what the mask of section 10.3 protects; a zero mask costs nothing.
      const mask = secure ? undefined : () => randomBytes(4)
      const link = new WebSocketLink(upgraded, { side: 'client', clock: options.clock, mask })
      resolve({ link, head })
    })
    request.end()
  })
}

/**
 * A WebSocket as a Transport: one binary message for each `writev`. The upgrade and the handshake are done by then.
 * Compression is never negotiated and the mask is zero inside TLS; both are decided where the WebSocket is made.
 */
import type { RawData, WebSocket } from 'ws'
import { AppError } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import { protocolError } from '../core/tunnel/codec.ts'
import { isErrorCode } from '../core/tunnel/reset-reason.ts'
import type { Transport } from '../core/tunnel/transport.ts'

/** Milliseconds for the closing handshake (RFC 6455 section 7.1); then the socket is destroyed. */
const CLOSING = 2000
/** A WebSocket ping is answered only while less than this waits: nobody makes us queue pongs without end. */
const PONG_ROOM = 64 * 1024

/** Closes with the code that belongs to the error, and destroys the socket if the peer does not close too. */
export function closeSocket(ws: WebSocket, err: AppError | undefined, clock: Clock): void {
  if (ws.readyState === ws.CLOSED) return
  if (err) ws.close(err.kind.wsClose, err.code)
  else ws.close(1000)
  const timer = clock.after(CLOSING, () => ws.terminate())
  ws.once('close', () => timer.cancel())
}

/** What a close says: the peer's error by its code, nothing for a normal close, a lost connection otherwise. */
export function closeReason(code: number, reason: Buffer): AppError | undefined {
  if (code === 1000 || code === 1001) return undefined
  const said = reason.toString('latin1')
  if (code >= 4000 && isErrorCode(said)) return new AppError(said)
  return new AppError('ERR_TUNNEL_CLOSED', undefined, { internal: `WebSocket closed with ${code}` })
}

export const bytesOf = (data: RawData): Buffer =>
  Buffer.isBuffer(data)
    ? data
    : Array.isArray(data)
      ? Buffer.concat(data)
      : Buffer.from(new Uint8Array(data))

export function webSocketTransport(ws: WebSocket, clock: Clock): Transport {
  const transport: Transport = {
    ondata: undefined,
    ondrain: undefined,
    onend: undefined,
    get buffered() {
      return ws.bufferedAmount
    },
    writev(bufs, bytes) {
      if (ws.readyState !== ws.OPEN) return
      const [first] = bufs
      const message = bufs.length === 1 && first ? first : Buffer.concat(bufs, bytes)
      ws.send(message, SEND, sent)
    },
    close: (err) => closeSocket(ws, err, clock),
  }
  const sent = () => transport.ondrain?.()
  let lost: AppError | undefined
  ws.on('message', (data, isBinary) => {
    if (isBinary) transport.ondata?.(bytesOf(data))
    else closeSocket(ws, protocolError('a text message after the handshake'), clock)
  })
  ws.on('ping', (data) => {
    if (ws.bufferedAmount < PONG_ROOM) ws.pong(data)
  })
  ws.on('error', (cause) => {
    lost = new AppError('ERR_TUNNEL_CLOSED', undefined, { internal: cause.message, cause })
  })
  ws.on('close', (code, reason) => transport.onend?.(closeReason(code, reason) ?? lost))
  return transport
}
const SEND = { binary: true, compress: false }

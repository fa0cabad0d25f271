/**
 * A WebSocket as a Transport: one binary message for each `writev`. The upgrade and the handshake are done by then.
 */
import { AppError } from '../core/errors.ts'
import { protocolError } from '../core/tunnel/codec.ts'
import { isErrorCode } from '../core/tunnel/reset-reason.ts'
import type { Transport } from '../core/tunnel/transport.ts'
import type { WebSocketLink } from './websocket/link.ts'

/** Closes with the code that belongs to the error. */
export function closeLink(link: WebSocketLink, err: AppError | undefined): void {
  if (err) link.close(err.kind.wsClose, err.code)
  else link.close(1000)
}

/** What a close says: the peer's error by its code, nothing for a normal close, a lost connection otherwise. */
export function closeReason(code: number, reason: string, cause?: Error): AppError | undefined {
  if (code === 1000 || code === 1001) return undefined
  if (code >= 4000 && isErrorCode(reason)) return new AppError(reason)
  const said = `WebSocket closed with ${code}`
  const internal = cause ? `${said}: ${cause.message}` : said
  return new AppError('ERR_TUNNEL_CLOSED', undefined, { internal, cause })
}

export function webSocketTransport(link: WebSocketLink): Transport {
  const transport: Transport = {
    ondata: undefined,
    ondrain: undefined,
    onend: undefined,
    get buffered() {
      return link.buffered
    },
    writev: (bufs, bytes) => link.sendBinary(bufs, bytes),
    close: (err) => closeLink(link, err),
  }
  link.ondata = (piece) => transport.ondata?.(piece)
  let wrong: AppError | undefined
  link.ontext = () => {
    wrong = protocolError('a text message after the handshake')
    closeLink(link, wrong)
  }
  link.ondrain = () => transport.ondrain?.()
  link.onclose = (code, reason, cause) =>
    transport.onend?.(wrong ?? closeReason(code, reason, cause))
  return transport
}

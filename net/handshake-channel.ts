/**
 * The handshake's view of a WebSocket: text messages one at a time, under one deadline for all of them. Frames that follow
 * the last message at once are kept for the transport, within a cap.
 */
import { AppError } from '../core/errors.ts'
import type { Clock, Timer } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'
import { decodeRefused, encodeMessage } from '../core/tunnel/handshake-messages.ts'
import type { HandshakeMessage } from '../core/tunnel/handshake-messages.ts'
import { isErrorCode, printable } from '../core/tunnel/reset-reason.ts'
import type { Transport } from '../core/tunnel/transport.ts'
import { closeLink, closeReason, webSocketTransport } from './transport-ws.ts'
import type { WebSocketLink } from './websocket/link.ts'

interface Message {
  readonly bytes: Buffer
  readonly binary: boolean
}

export class HandshakeChannel {
  readonly #link: WebSocketLink
  readonly #timer: Timer
  readonly #earlyMax: number
  readonly #queue: Message[] = []
  #queued = 0
  #over: AppError | undefined
  #wake: (() => void) | undefined

  /** `earlyMax`: bytes that may wait unread; more ends it. */
  constructor(link: WebSocketLink, clock: Clock, timeout: number, earlyMax: number) {
    this.#link = link
    this.#earlyMax = earlyMax
    this.#timer = clock.after(timeout, () =>
      this.fail(new AppError('ERR_TIMEOUT', 'The handshake took too long')),
    )
    link.ontext = (message) => this.#arrived(message, false)
    link.ondata = (piece) => this.#arrived(Buffer.from(piece), true)
    link.onclose = (code, reason, cause) =>
      this.#end(closeReason(code, reason, cause) ?? new AppError('ERR_TUNNEL_CLOSED'))
  }

  #arrived(bytes: Buffer, binary: boolean): void {
    if (this.#over) return
    this.#queued += bytes.length
    if (this.#queued > this.#earlyMax)
      return this.fail(new AppError('ERR_TUNNEL_PROTOCOL', undefined, { internal: 'too early' }))
    this.#queue.push({ bytes, binary })
    this.#wake?.()
  }
  #end(err: AppError): void {
    this.#over ??= err
    this.#wake?.()
  }

  /** Ends the connection and every `receive` with this error; the peer is told its code. */
  fail(err: AppError): void {
    if (this.#over) return
    this.#end(err)
    closeLink(this.#link, err)
  }

  /** Throws when the connection is over: by the deadline, the peer, or an abort. */
  check(): void {
    if (this.#over) throw this.#over
  }

  send(message: HandshakeMessage): void {
    this.check()
    this.#link.sendText(encodeMessage(message))
  }

  /** The next message. A `refused` in its place rejects with what it says. */
  async receive<T>(decode: (bytes: Buffer) => T): Promise<T> {
    const { bytes, binary } = await this.#next()
    if (binary)
      throw new AppError('ERR_TUNNEL_PROTOCOL', undefined, { internal: 'a frame before welcome' })
    if (bytes.length <= LIMITS.handshakeMessage.value && bytes.includes('"refused"')) {
      const said = decodeRefused(bytes)
      const code = isErrorCode(said.code) ? said.code : 'ERR_TUNNEL_HANDSHAKE'
      throw new AppError(code, printable(said.message), { internal: 'refused by the proxy' })
    }
    return decode(bytes)
  }

  async #next(): Promise<Message> {
    for (;;) {
      const message = this.#queue.shift()
      if (message) {
        this.#queued -= message.bytes.length
        return message
      }
      this.check()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
  }

  /**
   * The handshake is over: the same WebSocket as a transport. `attach` must set the transport's callbacks before it returns;
   * what arrived meanwhile is delivered then.
   */
  become<T>(attach: (transport: Transport) => T): T {
    this.check()
    this.#timer.cancel()
    const transport = webSocketTransport(this.#link)
    const attached = attach(transport)
    for (const { bytes, binary } of this.#queue.splice(0)) {
      if (binary) transport.ondata?.(bytes)
      else this.#link.ontext?.(bytes)
    }
    return attached
  }
}

/**
 * One WebSocket on a socket whose upgrade is done, as much of RFC 6455 as a tunnel needs and not an option more: no
 * extensions, messages sent whole, binary messages received in pieces. docs/adr/0030 says why this is not a library.
 */
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import { giveSlab, slabFor } from '../../core/tunnel/slabs.ts'
import { BINARY, CLOSE, headerLength, PONG, TEXT, writeHeader } from './frame.ts'
import { FrameReader, type Violation } from './frame-reader.ts'
import { readInto } from '../read-into.ts'

/** Milliseconds for the closing handshake (section 7.1); then the socket is destroyed. */
const CLOSING = 2000
/** A ping is answered only while less than this waits: nobody makes us queue pongs without end. */
const PONG_ROOM = 64 * 1024
/** Bytes of a reason in a close frame. */
const REASON_MAX = 123

export interface LinkOptions {
  readonly side: 'client' | 'server'
  readonly clock: Clock
  /** Four random bytes for each frame of a client outside TLS. Default: zero, which is right inside TLS. */
  readonly mask?: (() => Buffer) | undefined
}

const ZERO = Buffer.alloc(4)

export class WebSocketLink {
  /** A piece of a binary message. The bytes are good during the call only. */
  ondata: ((piece: Buffer) => void) | undefined
  ontext: ((message: Buffer) => void) | undefined
  /** Some of what was buffered went out. */
  ondrain: (() => void) | undefined
  /**
   * It is over, called exactly once: the peer's close code and reason, 1006 when there was none, or the code of what the peer
   * did wrong. `cause`: the error of the network, if it was one.
   */
  onclose: ((code: number, reason: string, cause?: Error) => void) | undefined

  readonly #socket: Socket
  readonly #clock: Clock
  readonly #mask: (() => Buffer) | undefined
  readonly #reader: FrameReader
  #state: 'open' | 'closing' | 'closed' = 'open'
  #peerClosed = false
  #code = 1006
  #reason = ''
  #cause: Error | undefined
  #timer: Timer | undefined

  /** Nothing is read before `start`. */
  constructor(socket: Socket, options: LinkOptions) {
    this.#socket = socket
    this.#clock = options.clock
    this.#mask = options.side === 'client' ? (options.mask ?? (() => ZERO)) : undefined
    this.#reader = new FrameReader(
      {
        binary: (piece) => this.#state === 'open' && this.ondata?.(piece),
        text: (message) => this.#state === 'open' && this.ontext?.(message),
        ping: (payload) => {
          if (this.#state === 'open' && this.buffered < PONG_ROOM) this.#write(PONG, [payload])
        },
        close: (code, reason) => this.#closedByPeer(code, reason),
      },
      {
        masked: options.side === 'server',
        messageMax: LIMITS.messageMax.value,
        textMax: LIMITS.handshakeMessage.value + 1,
      },
    )
  }

  /** Begins to read, `head` first: what came with the upgrade. The callbacks are set by then. */
  start(head: Buffer): void {
    const socket = this.#socket
    // It closed between the upgrade and now: its event is past.
    if (socket.destroyed) return void queueMicrotask(() => this.#over())
    socket.setTimeout(0)
    socket.setNoDelay(true)
    socket.on('error', (cause) => (this.#cause = cause))
    socket.on('end', () => this.#socket.end())
    socket.on('close', () => this.#over())
    if (head.length > 0) this.#read(head)
    readInto(socket, (bytes) => this.#read(bytes))
  }

  /** Bytes handed over that the operating system has not taken. */
  get buffered(): number {
    return this.#socket.writableLength
  }
  get open(): boolean {
    return this.#state === 'open'
  }

  /** `bufs` as one binary message, `bytes` long together. They are copied: the caller has them back when this returns. */
  sendBinary(bufs: readonly Buffer[], bytes: number): void {
    if (this.#state === 'open') this.#write(BINARY, bufs, bytes, this.#drained)
  }
  sendText(text: string): void {
    if (this.#state === 'open') this.#write(TEXT, [Buffer.from(text)])
  }

  /** Says why, waits for the peer to say the same, and destroys the socket if it does not. Idempotent. */
  close(code: number, reason = ''): void {
    if (this.#state !== 'open') return
    const said = Buffer.from(reason).subarray(0, REASON_MAX)
    const payload = Buffer.allocUnsafe(2 + said.length)
    payload.writeUInt16BE(code, 0)
    said.copy(payload, 2)
    this.#write(CLOSE, [payload])
    this.#state = 'closing'
    this.#timer = this.#clock.after(CLOSING, () => this.terminate())
    if (this.#peerClosed) this.#socket.end()
  }

  /** At once, without a word. */
  terminate(): void {
    this.#socket.destroy()
  }

  #read(bytes: Buffer): void {
    if (this.#peerClosed) return
    const violation = this.#reader.push(bytes)
    if (violation) this.#violated(violation)
  }

  #violated({ code, reason }: Violation): void {
    this.#peerClosed = true
    this.#code = code
    this.#cause ??= new Error(`WebSocket: ${reason}`)
    this.close(code)
    // Nothing more is read, so the end of the peer would never be seen.
    this.#socket.end()
  }

  #closedByPeer(code: number, reason: string): void {
    this.#peerClosed = true
    this.#code = code
    this.#reason = reason
    if (this.#state === 'open') this.close(code === 1005 ? 1000 : code)
    else this.#socket.end()
  }

  readonly #drained = (): void => this.ondrain?.()

  #write(opcode: number, bufs: readonly Buffer[], bytes = lengthOf(bufs), sent?: () => void): void {
    if (this.#socket.destroyed || !this.#socket.writable) return
    const mask = this.#mask?.()
    const length = headerLength(bytes, mask !== undefined) + bytes
    const slab = slabFor(length)
    const message = slab ?? Buffer.allocUnsafe(length)
    const start = writeHeader(message, opcode, bytes, mask)
    let at = start
    for (const buf of bufs) at += buf.copy(message, at)
    if (mask && mask !== ZERO) xor(message.subarray(start, at), mask)
    if (slab)
      this.#socket.write(slab.subarray(0, at), () => {
        giveSlab(slab)
        sent?.()
      })
    else this.#socket.write(message, sent)
  }

  #over(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#timer?.cancel()
    this.onclose?.(this.#code, this.#reason, this.#cause)
  }
}

const lengthOf = (bufs: readonly Buffer[]): number => bufs.reduce((n, b) => n + b.length, 0)

function xor(bytes: Buffer, mask: Buffer): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) ^ (mask[i & 3] ?? 0)
}

/**
 * Bytes to frames (SPEC.md section 3), in any chunking. Total: every input gives frames, "need more", or one
 * ERR_TUNNEL_PROTOCOL after which the decoder stays silent. DATA is handed on piece by piece as it arrives, so that nothing
 * is collected; the payloads that are collected are capped by their header before a byte is allocated.
 */
import { AppError } from '../errors.ts'
import {
  DATA,
  FIN,
  FRAME_LAYOUT,
  GOAWAY,
  HEADER_BYTES,
  OPEN,
  OPENED,
  OPTIONAL_TYPES,
  PING,
  REPLY,
  RESET,
  WINDOW,
  type ControlFrame,
} from './frame.ts'
import type { TunnelLimits } from './tunnel-limits.ts'

/** Who acts on frames. An answer other than undefined is the violation that ends the tunnel. */
export interface FrameSink {
  control(frame: ControlFrame): AppError | undefined
  /** A DATA frame begins: `length` bytes follow as pieces. */
  dataHeader(id: number, length: number): AppError | undefined
  dataPiece(piece: Buffer): void
  dataEnd(fin: boolean): void
}

export interface Decoder {
  /** Undefined: all good so far. */
  push(bytes: Buffer): AppError | undefined
}

export const protocolError = (reason: string): AppError =>
  new AppError('ERR_TUNNEL_PROTOCOL', undefined, { internal: reason })

type DecoderLimits = Pick<TunnelLimits, 'frameMax' | 'openPayload' | 'resetPayload'>
/** What the bytes after a header are for. */
type Mode = 'header' | 'data' | 'collect' | 'skip' | 'failed'

class FrameDecoder implements Decoder {
  readonly #sink: FrameSink
  readonly #limits: DecoderLimits
  /** A header that arrived in parts. */
  readonly #partial = Buffer.alloc(HEADER_BYTES)
  #partialBytes = 0
  #mode: Mode = 'header'
  #left = 0
  #fin = false
  #type = 0
  #id = 0
  #collected: Buffer = Buffer.alloc(0)
  #failure: AppError | undefined

  constructor(sink: FrameSink, limits: DecoderLimits) {
    this.#sink = sink
    this.#limits = limits
  }

  push(bytes: Buffer): AppError | undefined {
    if (this.#failure) return this.#failure
    let at = 0
    while (at < bytes.length) {
      at = this.#mode === 'header' ? this.#header(bytes, at) : this.#body(bytes, at)
      if (this.#failure) return this.#failure
    }
    return undefined
  }

  #fail(error: AppError | undefined): void {
    if (!error || this.#failure) return
    this.#failure = error
    this.#mode = 'failed'
  }

  #header(bytes: Buffer, at: number): number {
    if (this.#partialBytes === 0 && bytes.length - at >= HEADER_BYTES) {
      this.#begin(bytes, at)
      return at + HEADER_BYTES
    }
    const n = Math.min(HEADER_BYTES - this.#partialBytes, bytes.length - at)
    bytes.copy(this.#partial, this.#partialBytes, at, at + n)
    this.#partialBytes += n
    if (this.#partialBytes === HEADER_BYTES) {
      this.#partialBytes = 0
      this.#begin(this.#partial, 0)
    }
    return at + n
  }

  #begin(h: Buffer, at: number): void {
    const type = h.readUInt8(at + 1)
    const flags = h.readUInt16BE(at + 2)
    const id = h.readUInt32BE(at + 4)
    const value = h.readUInt32BE(at + 8)
    if (h[at] !== FRAME_LAYOUT) return this.#fail(protocolError(`frame layout ${h[at] ?? ''}`))
    if (type >= OPTIONAL_TYPES) return this.#skip(value)
    const allowed = type === DATA ? FIN : type === PING ? REPLY : 0
    if ((flags & ~allowed) !== 0)
      return this.#fail(protocolError(`flags ${flags} on frame type ${type}`))
    const ofSession = type === PING || type === GOAWAY
    if (ofSession !== (id === 0))
      return this.#fail(protocolError(`stream ${id} on frame type ${type}`))
    switch (type) {
      case DATA:
        return this.#data(id, value, flags === FIN)
      case WINDOW:
        return this.#fail(this.#sink.control({ type: 'window', id, credit: value }))
      case PING:
        return this.#fail(
          this.#sink.control({ type: 'ping', reply: flags === REPLY, token: value }),
        )
      case GOAWAY:
        return this.#fail(this.#sink.control({ type: 'goaway', comeBackMs: value }))
      case OPEN:
      case OPENED:
        return this.#collect(type, id, value, this.#limits.openPayload)
      case RESET:
        return this.#collect(type, id, value, this.#limits.resetPayload)
      default:
        return this.#fail(protocolError(`unknown frame type ${type}`))
    }
  }

  #skip(length: number): void {
    if (length > this.#limits.frameMax)
      return this.#fail(protocolError(`optional frame of ${length} bytes`))
    this.#left = length
    if (length > 0) this.#mode = 'skip'
  }

  #data(id: number, length: number, fin: boolean): void {
    if (length > this.#limits.frameMax)
      return this.#fail(protocolError(`DATA of ${length} bytes on stream ${id}`))
    const refused = this.#sink.dataHeader(id, length)
    if (refused) return this.#fail(refused)
    this.#left = length
    this.#fin = fin
    if (length === 0) this.#sink.dataEnd(fin)
    else this.#mode = 'data'
  }

  #collect(type: number, id: number, length: number, max: number): void {
    if (length > max)
      return this.#fail(protocolError(`payload of ${length} bytes on frame type ${type}`))
    this.#type = type
    this.#id = id
    this.#left = length
    this.#collected = Buffer.allocUnsafeSlow(length)
    if (length === 0) this.#finish()
    else this.#mode = 'collect'
  }

  #body(bytes: Buffer, at: number): number {
    const n = Math.min(this.#left, bytes.length - at)
    const end = at + n
    if (this.#mode === 'collect')
      bytes.copy(this.#collected, this.#collected.length - this.#left, at, end)
    this.#left -= n
    if (this.#mode === 'data')
      this.#sink.dataPiece(n === bytes.length ? bytes : bytes.subarray(at, end))
    if (this.#left === 0) {
      const mode = this.#mode
      this.#mode = 'header'
      if (mode === 'data') this.#sink.dataEnd(this.#fin)
      else if (mode === 'collect') this.#finish()
    }
    return end
  }

  #finish(): void {
    const payload = this.#collected
    this.#collected = Buffer.alloc(0)
    const type = this.#type === OPEN ? 'open' : this.#type === OPENED ? 'opened' : 'reset'
    this.#fail(this.#sink.control({ type, id: this.#id, payload }))
  }
}

export function createDecoder(sink: FrameSink, limits: DecoderLimits): Decoder {
  return new FrameDecoder(sink, limits)
}

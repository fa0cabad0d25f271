/**
 * Bytes to WebSocket messages (RFC 6455 section 5), in any chunking. Total: every input gives messages, "need more", or one
 * violation after which the reader stays silent. Binary messages are handed on piece by piece as they arrive and never put
 * together, because their boundaries mean nothing in a tunnel; texts are collected within a cap.
 */
import { isUtf8 } from 'node:buffer'
import { BINARY, CLOSE, CONTINUATION, isCloseCode, PING, PONG, TEXT } from './frame.ts'

export interface MessageSink {
  /** A piece of a binary message. The bytes are good during the call only. */
  binary(piece: Buffer): void
  /** A whole text message, valid UTF-8. */
  text(message: Buffer): void
  ping(payload: Buffer): void
  /** The peer's close frame; nothing comes after it. No code: 1005 (section 7.1.5). */
  close(code: number, reason: string): void
}

export interface Violation {
  /** Close code of section 7.4.1: 1002 protocol error, 1007 not UTF-8, 1009 too big. */
  readonly code: 1002 | 1007 | 1009
  readonly reason: string
}

export interface ReaderOptions {
  /** The peer is a client, which must mask (section 5.1); a server must not. */
  readonly masked: boolean
  /** Bytes of one binary message, all its fragments together. */
  readonly messageMax: number
  /** Bytes of one text message. */
  readonly textMax: number
}

const EMPTY: Buffer = Buffer.alloc(0)

export class FrameReader {
  readonly #sink: MessageSink
  readonly #options: ReaderOptions
  /** The header so far: 2 to 14 bytes, of which the first two say how many. */
  readonly #head = Buffer.alloc(14)
  #headBytes = 0
  #state: 'header' | 'payload' | 'over' = 'header'
  #opcode = 0
  #fin = false
  /** Payload bytes of the frame still to come, and those that came. */
  #left = 0
  #done = 0
  /** Undefined: not masked, or with zero. */
  #mask: Buffer | undefined
  /** The message in progress, and its bytes before this frame. */
  #message: 'none' | 'text' | 'binary' = 'none'
  #messageBytes = 0
  /** Payload of a control frame or text that is collected. */
  #collected: Buffer = EMPTY
  #text: Buffer = EMPTY

  constructor(sink: MessageSink, options: ReaderOptions) {
    this.#sink = sink
    this.#options = options
  }

  /** Undefined: all good so far. `bytes` is not kept; it may be changed (unmasked). */
  push(bytes: Buffer): Violation | undefined {
    let at = 0
    while (at < bytes.length && this.#state !== 'over') {
      if (this.#state === 'payload') {
        const end = Math.min(at + this.#left, bytes.length)
        const violation = this.#payload(
          at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end),
        )
        if (violation) return violation
        at = end
        continue
      }
      this.#head[this.#headBytes++] = bytes[at++] ?? 0
      const violation = this.#header()
      if (violation) return violation
    }
    return undefined
  }

  #fail(code: Violation['code'], reason: string): Violation {
    this.#state = 'over'
    return { code, reason }
  }

  /** Called for each byte of a header: a header is at most 14 bytes for up to half a megabyte. */
  #header(): Violation | undefined {
    if (this.#headBytes === 2) {
      const wrong = this.#firstTwo(this.#head[0] ?? 0, this.#head[1] ?? 0)
      if (wrong) return this.#fail(1002, wrong)
    }
    if (this.#headBytes < 2 || this.#headBytes < this.#headLength()) return undefined
    const short = (this.#head[1] ?? 0) & 0x7f
    const length =
      short === 127
        ? this.#head.readUInt32BE(2) * 2 ** 32 + this.#head.readUInt32BE(6)
        : short === 126
          ? this.#head.readUInt16BE(2)
          : short
    if ((short === 126 && length < 126) || (short === 127 && length < 65_536))
      return this.#fail(1002, 'a length that is not the shortest')
    const maskAt = this.#headLength() - 4
    const masked = this.#options.masked && this.#head.readUInt32BE(maskAt) !== 0
    this.#mask = masked ? this.#head.subarray(maskAt, maskAt + 4) : undefined
    this.#headBytes = 0
    this.#left = length
    this.#done = 0
    return this.#begin(length)
  }

  #headLength(): number {
    const short = (this.#head[1] ?? 0) & 0x7f
    return 2 + (short === 127 ? 8 : short === 126 ? 2 : 0) + (this.#options.masked ? 4 : 0)
  }

  /** What is wrong with the first two bytes. */
  #firstTwo(first: number, second: number): string | undefined {
    this.#fin = (first & 0x80) !== 0
    this.#opcode = first & 0x0f
    if ((first & 0x70) !== 0) return 'reserved bits'
    if (((second & 0x80) !== 0) !== this.#options.masked)
      return this.#options.masked ? 'a client must mask' : 'a server must not mask'
    switch (this.#opcode) {
      case CONTINUATION:
        return this.#message === 'none' ? 'a continuation of nothing' : undefined
      case TEXT:
      case BINARY:
        return this.#message === 'none' ? undefined : 'a message inside a message'
      case CLOSE:
      case PING:
      case PONG:
        if (!this.#fin) return 'a control frame in parts'
        return (second & 0x7f) > 125 ? 'a control frame above 125 bytes' : undefined
      default:
        return `unknown opcode ${this.#opcode}`
    }
  }

  #begin(length: number): Violation | undefined {
    if (this.#opcode === TEXT || this.#opcode === BINARY) {
      this.#message = this.#opcode === TEXT ? 'text' : 'binary'
      this.#messageBytes = 0
    }
    if (this.#opcode >= CLOSE) this.#collected = Buffer.allocUnsafeSlow(length)
    else {
      const max = this.#message === 'text' ? this.#options.textMax : this.#options.messageMax
      if (this.#messageBytes + length > max) return this.#fail(1009, `more than ${max} bytes`)
      if (this.#message === 'text') this.#roomForText(length)
    }
    this.#state = 'payload'
    return length === 0 ? this.#end() : undefined
  }

  /** One allocation for a text in one frame, one for a text in fragments however many they are. */
  #roomForText(length: number): void {
    if (this.#messageBytes > 0 || this.#text.length > 0) return
    this.#text = Buffer.allocUnsafeSlow(this.#fin ? length : this.#options.textMax)
  }

  #payload(piece: Buffer): Violation | undefined {
    if (this.#mask) unmask(piece, this.#mask, this.#done)
    if (this.#opcode >= CLOSE) piece.copy(this.#collected, this.#done)
    else if (this.#message === 'text') piece.copy(this.#text, this.#messageBytes + this.#done)
    this.#done += piece.length
    this.#left -= piece.length
    if (this.#opcode < CLOSE && this.#message === 'binary') this.#sink.binary(piece)
    return this.#left === 0 ? this.#end() : undefined
  }

  #end(): Violation | undefined {
    this.#state = 'header'
    const collected = this.#collected
    this.#collected = EMPTY
    if (this.#opcode === CLOSE) return this.#close(collected)
    if (this.#opcode === PING) this.#sink.ping(collected)
    if (this.#opcode >= CLOSE) return undefined
    this.#messageBytes += this.#done
    if (!this.#fin) return undefined
    const text = this.#message === 'text' ? this.#text.subarray(0, this.#messageBytes) : undefined
    this.#message = 'none'
    this.#text = EMPTY
    if (!text) return undefined
    if (!isUtf8(text)) return this.#fail(1007, 'a text that is not UTF-8')
    this.#sink.text(text)
    return undefined
  }

  #close(payload: Buffer): Violation | undefined {
    if (payload.length === 1) return this.#fail(1002, 'a close frame of one byte')
    const code = payload.length === 0 ? 1005 : payload.readUInt16BE(0)
    if (payload.length > 0 && !isCloseCode(code)) return this.#fail(1002, `close code ${code}`)
    const reason = payload.subarray(2)
    if (!isUtf8(reason)) return this.#fail(1007, 'a close reason that is not UTF-8')
    this.#state = 'over'
    this.#sink.close(code, reason.toString())
    return undefined
  }
}

/** Section 5.3, in place. Our own clients mask with zero inside TLS, so this is for those that do not. */
function unmask(bytes: Buffer, mask: Buffer, offset: number): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) ^ (mask[(offset + i) & 3] ?? 0)
}

/** The data types of SSH (RFC 4251 section 5) as keys, signatures and certificates use them. The reader never copies. */
import { AppError } from '../errors.ts'

export const malformed = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_CERT_INVALID', undefined, { internal: `SSH: ${internal}`, cause })

const utf8 = new TextDecoder('utf-8', { fatal: true })

export class SshReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** How far it has read. */
  get offset(): number {
    return this.#at
  }
  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  #take(n: number): Buffer {
    // Compared without adding, so that a length of 4 GB cannot wrap (CVE-2026-73564).
    if (n > this.#bytes.length - this.#at) throw malformed('truncated')
    const start = this.#at
    this.#at += n
    return this.#bytes.subarray(start, this.#at)
  }

  u8(): number {
    return this.#take(1).readUInt8()
  }
  u32(): number {
    return this.#take(4).readUInt32BE()
  }
  u64(): bigint {
    return this.#take(8).readBigUInt64BE()
  }
  string(): Buffer {
    return this.#take(this.u32())
  }
  /** A string that must be UTF-8 without control characters: names, never binary data. */
  text(): string {
    let text: string
    try {
      text = utf8.decode(this.string())
    } catch (cause) {
      if (cause instanceof AppError) throw cause
      throw malformed('text is not UTF-8', cause)
    }
    if (/[\u0000-\u001f\u007f]/.test(text)) throw malformed('control character in a text')
    return text
  }
  /** A non-negative mpint without its sign byte; longer encodings than needed are refused. */
  mpint(): Buffer {
    const bytes = this.string()
    const [first, second = 0] = bytes
    if (first === undefined) return bytes
    if (first & 0x80) throw malformed('negative integer')
    if (first !== 0) return bytes
    if (!(second & 0x80)) throw malformed('integer is not minimal')
    return bytes.subarray(1)
  }
  end(): void {
    if (!this.done) throw malformed('trailing bytes')
  }
}

export function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

/** A length-prefixed string; text is UTF-8. */
export function string(value: Uint8Array | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value
  return Buffer.concat([u32(bytes.length), bytes])
}

/** An mpint from unsigned big-endian bytes. */
export function mpint(bytes: Uint8Array): Buffer {
  let start = 0
  while (start < bytes.length && bytes[start] === 0) start++
  const minimal = bytes.subarray(start)
  const padded = (minimal[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), minimal]) : minimal
  return string(padded)
}

/** Strings inside one string, as principals and options are kept. */
export const nested = (...items: readonly Uint8Array[]): Buffer => string(Buffer.concat(items))

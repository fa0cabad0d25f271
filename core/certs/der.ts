/**
 * The part of DER (X.690) that certificates need: a writer, and a reader that takes nothing but DER. Lengths are definite and
 * minimal, tags are low-number; whatever else arrives is refused, so that two parsers cannot read one certificate differently.
 */
import { AppError } from '../errors.ts'
import { fromSeconds, type Instant } from '../clock.ts'

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

// ---- writer

/** A header for `length` bytes of content. Certificates stay far below 64 KiB, so two length bytes are enough. */
function header(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.of(tag, length)
  if (length < 0x100) return Buffer.of(tag, 0x81, length)
  if (length < 0x1_0000) return Buffer.of(tag, 0x82, length >> 8, length & 0xff)
  throw new AppError('ERR_CERT_REQUEST_REFUSED', 'the certificate would be too large')
}

export function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = 0
  for (const part of parts) length += part.length
  return Buffer.concat([header(tag, length), ...parts])
}
export const sequence = (...parts: readonly Uint8Array[]): Buffer => tlv(TAG.sequence, ...parts)
export const set = (...parts: readonly Uint8Array[]): Buffer => tlv(TAG.set, ...parts)
export const octetString = (bytes: Uint8Array): Buffer => tlv(TAG.octetString, bytes)
export const utf8String = (text: string): Buffer => tlv(TAG.utf8String, Buffer.from(text, 'utf8'))
export const TRUE = Buffer.of(TAG.boolean, 1, 0xff)
/** `unused` counts the bits of the last byte that do not belong to the string. */
export const bitString = (bytes: Uint8Array, unused = 0): Buffer =>
  tlv(TAG.bitString, Buffer.of(unused), bytes)
/** [n] EXPLICIT or a constructed IMPLICIT. */
export const contextual = (n: number, ...parts: readonly Uint8Array[]): Buffer =>
  tlv(0xa0 | n, ...parts)
/** [n] IMPLICIT of a primitive. */
export const contextualPrimitive = (n: number, bytes: Uint8Array): Buffer => tlv(0x80 | n, bytes)

/** A non-negative integer from big-endian bytes. */
export function integer(bytes: Uint8Array): Buffer {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start++
  const minimal = bytes.subarray(start)
  const first = minimal[0] ?? 0
  return first & 0x80 ? tlv(TAG.integer, Buffer.of(0), minimal) : tlv(TAG.integer, minimal)
}

const oids = new Map<string, Buffer>()
/** An OBJECT IDENTIFIER from its dotted text. For our own constants: every text is kept. */
export function oid(dotted: string): Buffer {
  const known = oids.get(dotted)
  if (known) return known
  const arcs = dotted.split('.').map(BigInt)
  const [first = 0n, second = 0n, ...rest] = arcs
  const bytes: number[] = []
  // Arcs under 2.25 are UUIDs of 128 bits (X.667), so numbers would lose digits.
  for (const arc of [first * 40n + second, ...rest]) {
    const base128 = [Number(arc & 0x7fn)]
    for (let left = arc >> 7n; left > 0n; left >>= 7n) base128.unshift(Number(left & 0x7fn) | 0x80)
    bytes.push(...base128)
  }
  const encoded = tlv(TAG.oid, Buffer.from(bytes))
  oids.set(dotted, encoded)
  return encoded
}

/** UTCTime until 2049, GeneralizedTime after it, as RFC 5280 section 4.1.2.5 demands. Whole seconds. */
export function time(at: Instant): Buffer {
  const iso = new Date(at).toISOString()
  const date = iso.slice(0, 4) + iso.slice(5, 7) + iso.slice(8, 10)
  const text = `${date}${iso.slice(11, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`
  return text < '2050'
    ? tlv(TAG.utcTime, Buffer.from(text.slice(2), 'latin1'))
    : tlv(TAG.generalizedTime, Buffer.from(text, 'latin1'))
}

// ---- reader

const broken = (internal: string): AppError =>
  new AppError('ERR_CERT_INVALID', undefined, { internal: `DER: ${internal}` })

export interface Tlv {
  readonly tag: number
  readonly content: Buffer
  /** Header and content, as signatures cover them. */
  readonly raw: Buffer
}

/** Reads values one after another from a buffer; a view, nothing is copied. */
export class DerReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  /** Tag of the next value, undefined at the end. */
  get tag(): number | undefined {
    return this.#bytes[this.#at]
  }

  next(): Tlv {
    const bytes = this.#bytes
    const start = this.#at
    const left = bytes.length - start
    const tag = bytes[start]
    let length = bytes[start + 1]
    if (tag === undefined || length === undefined) throw broken('truncated header')
    if ((tag & 0x1f) === 0x1f) throw broken('high tag number')
    let head = 2
    if (length & 0x80) {
      const count = length & 0x7f
      // Certificates are capped at LIMITS.certSize, far below what two length bytes can say.
      if (count === 0 || count > 2) throw broken('indefinite or oversized length')
      head += count
      if (left < head) throw broken('truncated length')
      length = bytes.readUIntBE(start + 2, count)
      if (length < 0x80 || (count === 2 && length < 0x100)) throw broken('length is not minimal')
    }
    if (length > left - head) throw broken('truncated value')
    const end = start + head + length
    this.#at = end
    return { tag, content: bytes.subarray(start + head, end), raw: bytes.subarray(start, end) }
  }

  /** The next value, which must have this tag. */
  expect(tag: number): Tlv {
    if (this.tag !== tag) throw broken(`tag ${this.tag ?? 'none'} where ${tag} was expected`)
    return this.next()
  }

  /** The next value if it has this tag. */
  optional(tag: number): Tlv | undefined {
    return this.tag === tag ? this.next() : undefined
  }

  /** A reader of the content of the next value, which must have this tag. */
  enter(tag: number): DerReader {
    return new DerReader(this.expect(tag).content)
  }

  end(): void {
    if (!this.done) throw broken('trailing bytes')
  }
}

/** Dotted text of the content of an OBJECT IDENTIFIER. */
export function readOid(content: Buffer): string {
  // Arcs grow by 7 bits a byte and printing them is quadratic: 64 bytes hold every OID in use.
  if (content.length === 0 || content.length > 64) throw broken('length of an OID')
  const arcs: bigint[] = []
  let arc = 0n
  let fresh = true
  for (const byte of content) {
    if (fresh && byte === 0x80) throw broken('OID arc is not minimal')
    arc = (arc << 7n) | BigInt(byte & 0x7f)
    fresh = (byte & 0x80) === 0
    if (!fresh) continue
    arcs.push(arc)
    arc = 0n
  }
  if (!fresh) throw broken('truncated OID')
  const [joined = 0n, ...rest] = arcs
  const first = joined < 80n ? joined / 40n : 2n
  return [first, joined - first * 40n, ...rest].join('.')
}

/** Content of a non-negative INTEGER as bytes without sign padding. */
export function readUnsigned(content: Buffer): Buffer {
  const [first, second] = content
  if (first === undefined) throw broken('empty integer')
  if (first & 0x80) throw broken('negative integer')
  if (first === 0 && second !== undefined && (second & 0x80) === 0)
    throw broken('integer is not minimal')
  return first === 0 && content.length > 1 ? content.subarray(1) : content
}

export function readBoolean(content: Buffer): boolean {
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw broken('boolean')
  return content[0] === 0xff
}

/** Content of a BIT STRING: its bytes, and how many bits of the last do not count (zero, as DER demands). */
export function readBitString(content: Buffer): { bytes: Buffer; unused: number } {
  const unused = content[0]
  if (unused === undefined || unused > 7 || (content.length === 1 && unused > 0))
    throw broken('bit string')
  const bytes = content.subarray(1)
  if (((bytes.at(-1) ?? 0) & ((1 << unused) - 1)) !== 0) throw broken('bit string padding')
  return { bytes, unused }
}

const TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
/** UTCTime or GeneralizedTime in the one form that RFC 5280 allows. */
export function readTime(value: Tlv): Instant {
  const raw = value.content.toString('latin1')
  const isUtc = value.tag === TAG.utcTime
  if (!isUtc && value.tag !== TAG.generalizedTime) throw broken('not a time')
  // RFC 5280 section 4.1.2.5.1: two-digit years from 50 on are in the last century.
  const text = isUtc ? (raw < '50' ? '20' : '19') + raw : raw
  const parts = TIME.exec(text)?.slice(1).map(Number)
  if (!parts) throw broken('form of a time')
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts
  const ms = Date.UTC(year, month - 1, day, hour, minute, second)
  const at = fromSeconds(ms / 1000)
  // Date.UTC carries the 31st of April over to May and years below 100 into 19xx; such a time is refused instead.
  if (
    Number.isNaN(ms) ||
    new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14) + 'Z' !== text
  )
    throw broken('no such time')
  return at
}

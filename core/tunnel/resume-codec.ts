/**
 * The records inside a resumable stream (SPEC.md section 9): a 4-byte header, `type` and a 24-bit length, then the payload.
 * Total, in any chunking: every input gives records, "need more", or one ERR_TUNNEL_PROTOCOL after which the decoder stays
 * silent. Payload of DATA is handed on piece by piece and never copied; the rest is at most 32 bytes.
 */
import type { AppError } from '../errors.ts'
import { protocolError } from './codec.ts'

export const RECORD_HEADER = 4
/** Longest DATA record: what 24 bits can say. Its receiver collects nothing, so length costs it nothing. */
export const RECORD_MAX = 0xff_ffff
export const MAC_BYTES = 32

const RECORD_DATA = 0
const RECORD_ACK = 1
const RECORD_FIN = 2
const RECORD_AT = 3
const RECORD_PROOF = 4
/** Length of each record that is not DATA. */
const LENGTHS = new Map([
  [RECORD_ACK, 12],
  [RECORD_FIN, 0],
  [RECORD_AT, 8],
  [RECORD_PROOF, MAC_BYTES],
])

/** Who acts on records. An answer other than undefined is the violation that ends the stream. */
export interface RecordSink {
  /** Bytes of the stream, as they arrive. */
  piece(bytes: Buffer): AppError | undefined
  /** Everything before `next` was taken; the peer may send up to `next + window`. */
  ack(next: number, window: number): AppError | undefined
  fin(): AppError | undefined
  /** The next DATA begins at this offset. */
  at(offset: number): AppError | undefined
}

function record(type: number, length: number): Buffer {
  const out = Buffer.allocUnsafe(RECORD_HEADER + (type === RECORD_DATA ? 0 : length))
  out.writeUInt32BE(type * 0x100_0000 + length)
  return out
}

/** The header alone: the bytes themselves follow as they are. */
export const dataHeader = (length: number): Buffer => record(RECORD_DATA, length)
export const finRecord = (): Buffer => record(RECORD_FIN, 0)

export function ackRecord(next: number, window: number): Buffer {
  const out = record(RECORD_ACK, 12)
  out.writeBigUInt64BE(BigInt(next), RECORD_HEADER)
  out.writeUInt32BE(window, RECORD_HEADER + 8)
  return out
}

export function atRecord(offset: number): Buffer {
  const out = record(RECORD_AT, 8)
  out.writeBigUInt64BE(BigInt(offset), RECORD_HEADER)
  return out
}

export const proofRecord = (mac: Buffer): Buffer =>
  Buffer.concat([record(RECORD_PROOF, MAC_BYTES).subarray(0, RECORD_HEADER), mac])

/** The proof at the front of `bytes`. `undefined`: more are needed. */
export function takeProof(bytes: Buffer): { mac: Buffer; rest: Buffer } | AppError | undefined {
  const end = RECORD_HEADER + MAC_BYTES
  if (bytes.length < RECORD_HEADER) return undefined
  if (bytes.readUInt32BE() !== RECORD_PROOF * 0x100_0000 + MAC_BYTES)
    return protocolError('a resumed stream that does not begin with its proof')
  if (bytes.length < end) return undefined
  return { mac: bytes.subarray(RECORD_HEADER, end), rest: bytes.subarray(end) }
}

export class RecordDecoder {
  readonly #sink: RecordSink
  readonly #held = Buffer.alloc(RECORD_HEADER + 12)
  #heldBytes = 0
  /** Bytes of the record's header and, unless it is DATA, of its payload. */
  #need = RECORD_HEADER
  /** Bytes of the DATA record in progress that are still to come. */
  #left = 0
  #failure: AppError | undefined

  constructor(sink: RecordSink) {
    this.#sink = sink
  }

  /** Undefined: all good so far. */
  push(bytes: Buffer): AppError | undefined {
    let at = 0
    while (at < bytes.length && !this.#failure)
      at = this.#left > 0 ? this.#data(bytes, at) : this.#control(bytes, at)
    return this.#failure
  }

  #data(bytes: Buffer, at: number): number {
    const n = Math.min(this.#left, bytes.length - at)
    this.#left -= n
    this.#failure = this.#sink.piece(n === bytes.length ? bytes : bytes.subarray(at, at + n))
    return at + n
  }

  #control(bytes: Buffer, at: number): number {
    const n = Math.min(this.#need - this.#heldBytes, bytes.length - at)
    bytes.copy(this.#held, this.#heldBytes, at, at + n)
    this.#heldBytes += n
    if (this.#heldBytes === this.#need) this.#complete()
    return at + n
  }

  #complete(): void {
    const type = this.#held.readUInt8()
    const length = this.#held.readUIntBE(1, 3)
    if (this.#need === RECORD_HEADER) {
      if (type === RECORD_DATA) {
        if (length === 0) this.#failure = protocolError('an empty DATA record')
        this.#left = length
        this.#heldBytes = 0
        return
      }
      if (LENGTHS.get(type) !== length || type === RECORD_PROOF) {
        this.#failure = protocolError(`record ${type} of ${length} bytes`)
        return
      }
      this.#need += length
      if (length > 0) return
    }
    this.#need = RECORD_HEADER
    this.#heldBytes = 0
    this.#failure = this.#act(type)
  }

  #act(type: number): AppError | undefined {
    if (type === RECORD_FIN) return this.#sink.fin()
    const offset = Number(this.#held.readBigUInt64BE(RECORD_HEADER))
    if (!Number.isSafeInteger(offset)) return protocolError('an offset beyond 2^53')
    if (type === RECORD_AT) return this.#sink.at(offset)
    return this.#sink.ack(offset, this.#held.readUInt32BE(RECORD_HEADER + 8))
  }
}

/**
 * How TPM 2.0 writes things down (TPM 2.0 Library, Part 2): big-endian numbers, and byte strings with a length of two bytes before
 * them (TPM2B). Both halves of the join method use it.
 */
import type { KeyObject } from 'node:crypto'
import { AppError } from '../../errors.ts'

export const ALG = {
  rsa: 0x0001,
  aes: 0x0006,
  sha256: 0x000b,
  null: 0x0010,
  ecdsa: 0x0018,
  ecc: 0x0023,
  cfb: 0x0043,
} as const
export const CURVE_P256 = 0x0003

/** TPMA_OBJECT (Part 2, 8.3). */
export const ATTRIBUTE = {
  fixedTpm: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const

export const u8 = (n: number): Buffer => Buffer.of(n)
export function u16(n: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(n)
  return bytes
}
export function u32(n: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(n)
  return bytes
}
/** TPM2B: two bytes of length, then the bytes. */
export const sized = (...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts)
  return Buffer.concat([u16(body.length), body])
}

/** Reads one structure; what is missing or left over throws ERR_INPUT_INVALID. */
export class TpmReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw new AppError('ERR_INPUT_INVALID', 'TPM: truncated')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
  u16(): number {
    return this.take(2).readUInt16BE()
  }
  u32(): number {
    return this.take(4).readUInt32BE()
  }
  /** The content of a TPM2B. */
  sized(): Buffer {
    return this.take(this.u16())
  }
  end(): void {
    if (this.#at !== this.#bytes.length)
      throw new AppError('ERR_INPUT_INVALID', 'TPM: trailing bytes')
  }
}

/** SubjectPublicKeyInfo in DER, of the kinds of keys that a TPM endorses. */
export const spkiOf = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' })

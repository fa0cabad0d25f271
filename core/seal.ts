/**
 * State that the server hands out instead of keeping: sealed with AES-256-GCM under a key of its own for each purpose, so that
 * the holder can neither read nor change it.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { invariant } from './errors.ts'
import { systemRandom, type Random } from './random.ts'

const NONCE = 12
const TAG = 16

export interface Sealer {
  /** base64url of nonce ‖ ciphertext ‖ tag; `context` must be the same at `open`. */
  seal(plain: Uint8Array, context: string): string
  /** The bytes, or undefined for whatever this key did not seal in this context. Never throws. */
  open(sealed: string, context: string): Buffer | undefined
}

/** Keys of one purpose from one master secret, so that a text sealed for one never opens as another. */
export const deriveKey = (master: Uint8Array, purpose: string): Buffer =>
  Buffer.from(hkdfSync('sha256', master, Buffer.alloc(0), `postern ${purpose}`, 32))

export function createSealer(key: Uint8Array, random: Random = systemRandom): Sealer {
  invariant(key.length === 32, 'a sealing key has 32 bytes')
  return {
    seal(plain, context) {
      const nonce = random.bytes(NONCE)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      cipher.setAAD(Buffer.from(context, 'utf8'))
      const body = Buffer.concat([cipher.update(plain), cipher.final()])
      return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64url')
    },
    open(sealed, context) {
      const bytes = Buffer.from(sealed, 'base64url')
      if (bytes.length < NONCE + TAG || bytes.toString('base64url') !== sealed) return undefined
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE), {
          authTagLength: TAG,
        })
        decipher.setAAD(Buffer.from(context, 'utf8'))
        decipher.setAuthTag(bytes.subarray(bytes.length - TAG))
        const body = bytes.subarray(NONCE, bytes.length - TAG)
        return Buffer.concat([decipher.update(body), decipher.final()])
      } catch {
        return undefined
      }
    },
  }
}

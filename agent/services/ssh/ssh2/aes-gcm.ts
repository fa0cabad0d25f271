/**
 * AES-GCM of the OpenSSL inside Node, with one context for all packets of a key (docs/adr/0033). `node:crypto` makes a cipher object
 * and new memory for each packet, which takes longer than encrypting 32 KiB. Same code, same library: only the object is spared.
 *
 * Every pointer that is handed over comes with a length that is checked here first.
 */
import koffi from 'koffi'
import { AppError, invariant } from '../../../../core/errors.ts'

export const TAG_BYTES = 16
const IV_BYTES = 12
const KEY_BYTES = { 'aes-128-gcm': 16, 'aes-256-gcm': 32 } as const
export type GcmName = keyof typeof KEY_BYTES
export const isGcm = (name: string | undefined): name is GcmName =>
  name !== undefined && Object.hasOwn(KEY_BYTES, name)

/** openssl/evp.h */
const GET_TAG = 0x10
const SET_TAG = 0x11

type Call = (...args: readonly unknown[]) => number
interface OpenSsl {
  readonly newContext: () => unknown
  readonly freeContext: (context: unknown) => void
  readonly ciphers: Readonly<Record<GcmName, () => unknown>>
  readonly init: Call
  readonly update: Call
  readonly finish: Call
  readonly control: Call
}

/** undefined: this Node hides its OpenSSL. */
function load(): OpenSsl | undefined {
  try {
    const self = koffi.load(null)
    const func = (name: string, result: string, args: string[]) =>
      self.func(name, result, args) as never
    return {
      newContext: func('EVP_CIPHER_CTX_new', 'void *', []),
      freeContext: func('EVP_CIPHER_CTX_free', 'void', ['void *']),
      ciphers: {
        'aes-128-gcm': func('EVP_aes_128_gcm', 'void *', []),
        'aes-256-gcm': func('EVP_aes_256_gcm', 'void *', []),
      },
      // Context, cipher, engine, key, IV; the last argument is 1 to encrypt, 0 to decrypt, -1 as before.
      init: func('EVP_CipherInit_ex', 'int', [...Array<string>(5).fill('void *'), 'int']),
      update: func('EVP_CipherUpdate', 'int', ['void *', 'void *', 'void *', 'void *', 'int']),
      finish: func('EVP_CipherFinal_ex', 'int', ['void *', 'void *', 'void *']),
      control: func('EVP_CIPHER_CTX_ctrl', 'int', ['void *', 'int', 'int', 'void *']),
    }
  } catch {
    return undefined
  }
}
const openSsl = load()

/** Where calls write lengths and last blocks that GCM does not have; nobody reads it. */
const scratch = Buffer.alloc(64)

export interface Gcm {
  /**
   * Encrypts `data` into `out`, which may be `data` itself, and writes its tag. 12, any, n, n and 16 bytes.
   */
  seal(iv: Buffer, aad: Buffer, data: Buffer, out: Buffer, tag: Buffer): void
  /** Decrypts `data` where it lies. False: the tag does not hold, and what lies there is worth nothing. */
  open(iv: Buffer, aad: Buffer, data: Buffer, tag: Buffer): boolean
  /** Wipes the key. Nothing may be called afterwards. */
  free(): void
}

/** One direction of one key. undefined where OpenSSL cannot be reached: Node's own objects do the same, slower. */
export function createGcm(name: GcmName, key: Buffer, direction: 'seal' | 'open'): Gcm | undefined {
  invariant(key.length === KEY_BYTES[name], 'the key is as long as its cipher wants it')
  const ssl = openSsl
  let context = ssl?.newContext()
  if (!ssl || !context) return undefined
  const done = (result: number): void => {
    if (result !== 1) throw new AppError('ERR_INTERNAL', undefined, { internal: 'OpenSSL refused' })
  }
  const encrypts = direction === 'seal' ? 1 : 0
  done(ssl.init(context, ssl.ciphers[name](), null, key, null, encrypts))

  function process(iv: Buffer, aad: Buffer, data: Buffer, out: Buffer, tag: Buffer): unknown {
    invariant(context !== undefined, 'the key is still there')
    invariant(iv.length === IV_BYTES && tag.length === TAG_BYTES, 'IV and tag have their lengths')
    invariant(out.length === data.length, 'GCM writes as much as it reads')
    done(ssl?.init(context, null, null, null, iv, -1) ?? 0)
    done(ssl?.update(context, null, scratch, aad, aad.length) ?? 0)
    done(ssl?.update(context, out, scratch, data, data.length) ?? 0)
    return context
  }
  return {
    seal(iv, aad, data, out, tag) {
      const at = process(iv, aad, data, out, tag)
      done(ssl.finish(at, scratch, scratch))
      done(ssl.control(at, GET_TAG, TAG_BYTES, tag))
    },
    open(iv, aad, data, tag) {
      const at = process(iv, aad, data, data, tag)
      done(ssl.control(at, SET_TAG, TAG_BYTES, tag))
      return ssl.finish(at, scratch, scratch) === 1
    },
    free() {
      if (context !== undefined) ssl.freeContext(context)
      context = undefined
    },
  }
}

/**
 * A TPM 2.0 as far as a join can see one, in plain node:crypto, so that a test can also make it lie. The real one is swtpm
 * (test/integration/join/tpm.test.ts); this one reads credentials by the other half of the algorithm, written for itself.
 */
import {
  constants,
  createDecipheriv,
  createHash,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  createPrivateKey,
  createPublicKey,
  privateDecrypt,
  sign,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto'
import { bindingOf, type JoinKeys } from '../../core/join/binding.ts'
import type { TpmEvidence, TpmOpening, TpmQuestion } from '../../core/join/tpm/method.ts'

const be16 = (n: number): Buffer => Buffer.of(n >> 8, n & 0xff)
const be32 = (n: number): Buffer => Buffer.of(n >>> 24, (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff)
const tpm2b = (bytes: Uint8Array): Buffer => Buffer.concat([be16(bytes.length), bytes])
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
const bytes = (given: string): Buffer => Buffer.from(given, 'base64url')
const sha256 = (...parts: Uint8Array[]): Buffer =>
  createHash('sha256').update(Buffer.concat(parts)).digest()

interface Pair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}
/** As DER and read back: a generated key object must not be exported as JWK (core/certs/signer.ts). */
function pair(kind: 'rsa' | 'ecc', bits = 2048): Pair {
  const publicKeyEncoding = { type: 'spki', format: 'der' } as const
  const privateKeyEncoding = { type: 'pkcs8', format: 'der' } as const
  const made =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: bits, publicKeyEncoding, privateKeyEncoding })
      : generateKeyPairSync('ec', { namedCurve: 'P-256', publicKeyEncoding, privateKeyEncoding })
  return {
    privateKey: createPrivateKey({ key: made.privateKey, format: 'der', type: 'pkcs8' }),
    publicKey: createPublicKey({ key: made.publicKey, format: 'der', type: 'spki' }),
  }
}

/** What is different from an honest attestation key or an honest attestation. */
export interface Lies {
  readonly attributes?: number
  readonly scheme?: number
  readonly magic?: number
  readonly type?: number
  readonly name?: Buffer
  readonly binding?: Buffer
  readonly signer?: KeyObject
  /** Bytes after the attestation. */
  readonly rest?: Buffer
}
const HONEST = 0x00050472

export interface SoftwareTpm {
  readonly ek: Pair
  /** Lower case hex, as rules have it. */
  readonly hash: string
  opening(): TpmOpening
  /** The name of the attestation key. */
  readonly name: Buffer
  activate(question: TpmQuestion): Buffer
  evidence(
    challenge: string,
    question: TpmQuestion,
    keys: JoinKeys,
    more?: { readonly lies?: Lies; readonly certificate?: Buffer },
  ): TpmEvidence
}

export function softwareTpm(
  kind: 'rsa' | 'ecc' = 'rsa',
  lies: Lies = {},
  bits = 2048,
): SoftwareTpm {
  const ek = pair(kind, bits)
  const ak = pair('ecc')
  const spki = ek.publicKey.export({ format: 'der', type: 'spki' })
  const point = ak.publicKey.export({ format: 'der', type: 'spki' }).subarray(-64)
  const publicArea = Buffer.concat([
    be16(0x0023),
    be16(0x000b),
    be32(lies.attributes ?? HONEST),
    tpm2b(Buffer.alloc(0)),
    be16(0x0010),
    be16(lies.scheme ?? 0x0018),
    be16(0x000b),
    be16(0x0003),
    be16(0x0010),
    tpm2b(point.subarray(0, 32)),
    tpm2b(point.subarray(32)),
  ])
  const name = Buffer.concat([be16(0x000b), sha256(publicArea)])
  const opening = (): TpmOpening => ({ ek_public: text(spki), ak_public: text(publicArea) })

  function seedOf(secret: Buffer): Buffer {
    if (kind === 'rsa')
      return privateDecrypt(
        {
          key: ek.privateKey,
          padding: constants.RSA_PKCS1_OAEP_PADDING,
          oaepHash: 'sha256',
          oaepLabel: Buffer.from('IDENTITY\0'),
        },
        secret,
      )
    const [x, y] = [secret.subarray(2, 34), secret.subarray(36)]
    const theirs = createPublicKey({
      key: { kty: 'EC', crv: 'P-256', x: text(x), y: text(y) },
      format: 'jwk',
    })
    const z = diffieHellman({ privateKey: ek.privateKey, publicKey: theirs })
    return sha256(be32(1), z, Buffer.from('IDENTITY\0'), x, spki.subarray(-64, -32))
  }

  function activate(question: TpmQuestion): Buffer {
    const blob = bytes(question.credential_blob)
    const [integrity, identity] = [blob.subarray(2, 34), blob.subarray(34)]
    const seed = seedOf(bytes(question.encrypted_secret))
    const key = (label: string, context: Buffer, size: number): Buffer =>
      createHmac('sha256', seed)
        .update(Buffer.concat([be32(1), Buffer.from(`${label}\0`), context, be32(size)]))
        .digest()
        .subarray(0, size / 8)
    const mac = createHmac('sha256', key('INTEGRITY', Buffer.alloc(0), 256))
    if (!timingSafeEqual(mac.update(identity).update(name).digest(), integrity))
      throw new Error('TPM_RC_INTEGRITY')
    const cipher = createDecipheriv('aes-128-cfb', key('STORAGE', name, 128), Buffer.alloc(16))
    return Buffer.concat([cipher.update(identity), cipher.final()]).subarray(2)
  }

  return {
    ek,
    hash: sha256(spki).toString('hex'),
    opening,
    name,
    activate,
    evidence(challenge, question, keys, { lies: told = {}, certificate } = {}) {
      const attest = Buffer.concat([
        be32(told.magic ?? 0xff544347),
        be16(told.type ?? 0x8017),
        tpm2b(name),
        tpm2b(told.binding ?? bindingOf('tpm', challenge, keys)),
        Buffer.alloc(17 + 8),
        tpm2b(told.name ?? name),
        tpm2b(name),
        told.rest ?? Buffer.alloc(0),
      ])
      const key = { key: told.signer ?? ak.privateKey, dsaEncoding: 'ieee-p1363' } as const
      const signed = sign('sha256', attest, key)
      const signature = Buffer.concat([
        be16(0x0018),
        be16(0x000b),
        tpm2b(signed.subarray(0, 32)),
        tpm2b(signed.subarray(32)),
      ])
      return {
        ...opening(),
        ...(certificate === undefined ? {} : { ek_certificate: text(certificate) }),
        secret: text(activate(question)),
        attest: text(attest),
        signature: text(signature),
      }
    },
  }
}

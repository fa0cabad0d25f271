/**
 * Keys and whoever can sign with them. A CA key may live in a file or in KMS; certificates, tokens and proofs see a `Signer`
 * only. Two kinds of key exist: ECDSA P-256 (`ES256`) and Ed25519 (`EdDSA`).
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type ED25519KeyPairOptions,
  type KeyObject,
} from 'node:crypto'
import { AppError, invariant } from '../errors.ts'
import type { Thumbprint } from '../ids.ts'

export type KeyAlgorithm = 'ES256' | 'EdDSA'

export interface Signer {
  readonly publicKey: KeyObject
  readonly algorithm: KeyAlgorithm
  /**
   * Signs `bytes`. ES256 hashes them with SHA-256 and answers a DER Ecdsa-Sig-Value, as KMS does; EdDSA answers 64 raw
   * bytes. Throws the AppError of whoever holds the key.
   */
  sign(bytes: Uint8Array, signal?: AbortSignal): Promise<Buffer>
}

export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

/** Facts of a public key that cost a parse or an export: kept as long as the key object lives. */
interface KeyFacts {
  readonly algorithm: KeyAlgorithm
  readonly spki: Buffer
  sha256?: Buffer
}
const facts = new WeakMap<KeyObject, KeyFacts>()

/**
 * What a SubjectPublicKeyInfo of ours starts with; the bare key follows. The 04 says "uncompressed": one key has one SPKI, so
 * that it has one thumbprint and can enrol once.
 */
const SPKI = [
  {
    algorithm: 'ES256',
    head: Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex'),
    length: 27 + 64,
  },
  { algorithm: 'EdDSA', head: Buffer.from('302a300506032b6570032100', 'hex'), length: 12 + 32 },
] as const

/** What kind of key it is, undefined for every kind that we do not sign with. Works on both halves of a pair. */
export function algorithmOf(key: KeyObject): KeyAlgorithm | undefined {
  const known = facts.get(key)
  if (known) return known.algorithm
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
    ? 'ES256'
    : undefined
}

const unfit = (): AppError =>
  new AppError('ERR_CERT_REQUEST_REFUSED', 'the key must be ECDSA P-256 or Ed25519')

function kindOf(info: Buffer): (typeof SPKI)[number] {
  const kind = SPKI.find(
    ({ head, length }) => info.length === length && info.subarray(0, head.length).equals(head),
  )
  if (!kind) throw unfit()
  return kind
}

function keep(key: KeyObject, info: Buffer, kind = kindOf(info)): KeyFacts {
  const made = { algorithm: kind.algorithm, spki: info }
  facts.set(key, made)
  return made
}

function factsOf(key: KeyObject): KeyFacts {
  const known = facts.get(key)
  if (known) return known
  invariant(key.type === 'public', 'a public key is asked for its SPKI')
  return keep(key, key.export({ type: 'spki', format: 'der' }))
}

/**
 * The key of a SubjectPublicKeyInfo in exactly the form that spki() gives, which is remembered: exporting it again would take
 * longer than signing. Throws ERR_CERT_REQUEST_REFUSED for every other form or kind.
 */
export function publicKeyOf(info: Buffer): KeyObject {
  const kind = kindOf(info)
  const bare = info.subarray(kind.head.length)
  const part = (from: number, to?: number): string => bare.toString('base64url', from, to)
  // As a JWK and not as the DER that it is: OpenSSL tries every kind of key on DER, which takes twice as long (P-256) to fifteen
  // times as long (Ed25519). A point that is not on the curve is refused either way.
  const jwk =
    kind.algorithm === 'ES256'
      ? { kty: 'EC', crv: 'P-256', x: part(0, 32), y: part(32) }
      : { kty: 'OKP', crv: 'Ed25519', x: part(0) }
  let key: KeyObject
  try {
    key = createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    throw unfit()
  }
  keep(key, Buffer.from(info), kind)
  return key
}

function sha256Of(key: KeyObject): Buffer {
  const known = factsOf(key)
  return (known.sha256 ??= createHash('sha256').update(known.spki).digest())
}

/** Throws ERR_CERT_REQUEST_REFUSED for a public key that is neither P-256 nor Ed25519. */
export const keyAlgorithm = (key: KeyObject): KeyAlgorithm => factsOf(key).algorithm
/** SubjectPublicKeyInfo in DER. */
export const spki = (key: KeyObject): Buffer => factsOf(key).spki
export const thumbprint = (key: KeyObject): Thumbprint =>
  sha256Of(key).toString('base64url') as Thumbprint
export const sameKey = (a: KeyObject, b: KeyObject): boolean => spki(a).equals(spki(b))
/** `sha256:<hex of SHA-256 of the SPKI>`, what `ca_pin` holds. */
export const caPin = (key: KeyObject): string => `sha256:${sha256Of(key).toString('hex')}`

/** A signer that holds its key in this process. */
export function keySigner(privateKey: KeyObject): Signer {
  const algorithm = algorithmOf(privateKey)
  if (!algorithm || privateKey.type !== 'private') throw unfit()
  const digest = algorithm === 'ES256' ? 'sha256' : null
  return {
    publicKey: createPublicKey(privateKey),
    algorithm,
    // One signature takes some 30 µs: less than handing it to the thread pool would.
    sign: async (bytes) => sign(digest, bytes, privateKey),
  }
}

/**
 * A new key; ES256 when nothing is asked for.
 *
 * It is made as DER and read back, because Node shares a lock between the key objects that it generates and the job that made
 * them: a garbage collection of that job during an export of the key as JWK hangs the process for ever (seen on 20.20).
 */
export function generateKey(algorithm: KeyAlgorithm = 'ES256'): KeyPair {
  const { privateKey, publicKey } = generateDer(algorithm)
  return {
    privateKey: createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' }),
    publicKey: publicKeyOf(publicKey),
  }
}

function generateDer(algorithm: KeyAlgorithm): { privateKey: Buffer; publicKey: Buffer } {
  const encoding: ED25519KeyPairOptions<'der', 'der'> = {
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
  }
  switch (algorithm) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256', ...encoding })
    case 'EdDSA':
      return generateKeyPairSync('ed25519', encoding)
  }
}

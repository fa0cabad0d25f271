/**
 * Keys and whoever can sign with them. A CA key may live in a file or in KMS; certificates, tokens and proofs see a `Signer`
 * only. Two kinds of key exist: ECDSA P-256 (`ES256`) and Ed25519 (`EdDSA`).
 */
import { createHash, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
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
  readonly sha256: Buffer
}
const facts = new WeakMap<KeyObject, KeyFacts>()

/**
 * What a SubjectPublicKeyInfo of ours starts with; the bare key follows. It is put together here, since exporting it as DER takes
 * five times as long as exporting the numbers, longer than signing a certificate. The 04 says "uncompressed": one key has
 * one SPKI, so that it has one thumbprint and can enrol once.
 */
const SPKI = {
  ES256: {
    head: Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex'),
    bytes: 64,
  },
  EdDSA: { head: Buffer.from('302a300506032b6570032100', 'hex'), bytes: 32 },
} as const

/** What kind of key it is, undefined for every kind that we do not sign with. Works on both halves of a pair. */
export function algorithmOf(key: KeyObject): KeyAlgorithm | undefined {
  const known = facts.get(key)
  if (known) return known.algorithm
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
    ? 'ES256'
    : undefined
}

function keep(key: KeyObject, algorithm: KeyAlgorithm, info: Buffer): KeyFacts {
  const made = { algorithm, spki: info, sha256: createHash('sha256').update(info).digest() }
  facts.set(key, made)
  return made
}

const unfit = (): AppError =>
  new AppError('ERR_CERT_REQUEST_REFUSED', 'the key must be ECDSA P-256 or Ed25519')

function factsOf(key: KeyObject): KeyFacts {
  const known = facts.get(key)
  if (known) return known
  invariant(key.type === 'public', 'a public key is asked for its SPKI')
  const kind = key.asymmetricKeyType
  // Other kinds may have no JWK at all, or curves that Node cannot write as one.
  if (kind !== 'ed25519' && algorithmOf(key) !== 'ES256') throw unfit()
  const { x = '', y = '' } = key.export({ format: 'jwk' })
  const algorithm = kind === 'ed25519' ? 'EdDSA' : 'ES256'
  const { head } = SPKI[algorithm]
  const parts = [head, Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]
  return keep(key, algorithm, Buffer.concat(parts))
}

/** The key of a SubjectPublicKeyInfo in exactly the form that spki() gives. Throws ERR_CERT_REQUEST_REFUSED for any other. */
export function publicKeyOf(info: Buffer): KeyObject {
  for (const algorithm of ['ES256', 'EdDSA'] as const) {
    const { head, bytes } = SPKI[algorithm]
    if (info.length !== head.length + bytes || !info.subarray(0, head.length).equals(head)) continue
    const part = (from: number) =>
      info
        .subarray(head.length + from)
        .subarray(0, 32)
        .toString('base64url')
    const jwk =
      algorithm === 'ES256'
        ? { kty: 'EC', crv: 'P-256', x: part(0), y: part(32) }
        : { kty: 'OKP', crv: 'Ed25519', x: part(0) }
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    keep(key, algorithm, Buffer.from(info))
    return key
  }
  throw unfit()
}

/** Throws ERR_CERT_REQUEST_REFUSED for a public key that is neither P-256 nor Ed25519. */
export const keyAlgorithm = (key: KeyObject): KeyAlgorithm => factsOf(key).algorithm
/** SubjectPublicKeyInfo in DER. */
export const spki = (key: KeyObject): Buffer => factsOf(key).spki
export const thumbprint = (key: KeyObject): Thumbprint =>
  factsOf(key).sha256.toString('base64url') as Thumbprint
/** `sha256:<hex of SHA-256 of the SPKI>`, what `ca_pin` holds. */
export const caPin = (key: KeyObject): string => `sha256:${factsOf(key).sha256.toString('hex')}`

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

/** A new key; ES256 when nothing is asked for. */
export function generateKey(algorithm: KeyAlgorithm = 'ES256'): KeyPair {
  switch (algorithm) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    case 'EdDSA':
      return generateKeyPairSync('ed25519')
  }
}

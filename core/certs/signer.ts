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
/** A SubjectPublicKeyInfo of ours has one length: named curve, uncompressed point. */
const SPKI_BYTES = { ES256: 91, EdDSA: 44 } as const
const facts = new WeakMap<KeyObject, KeyFacts>()

/** What kind of key it is, undefined for every kind that we do not sign with. Works on both halves of a pair. */
export function algorithmOf(key: KeyObject): KeyAlgorithm | undefined {
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
    ? 'ES256'
    : undefined
}

function factsOf(key: KeyObject): KeyFacts {
  const known = facts.get(key)
  if (known) return known
  const algorithm = algorithmOf(key)
  if (!algorithm)
    throw new AppError('ERR_CERT_REQUEST_REFUSED', 'the key must be ECDSA P-256 or Ed25519')
  invariant(key.type === 'public', 'a public key is asked for its SPKI')
  const spki = key.export({ type: 'spki', format: 'der' })
  // A compressed point would give one key two thumbprints, and so two enrolments.
  if (spki.length !== SPKI_BYTES[algorithm])
    throw new AppError('ERR_CERT_REQUEST_REFUSED', 'the point of the key must be uncompressed')
  const made = { algorithm, spki, sha256: createHash('sha256').update(spki).digest() }
  facts.set(key, made)
  return made
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
  if (!algorithm || privateKey.type !== 'private')
    throw new AppError('ERR_CERT_REQUEST_REFUSED', 'the key must be ECDSA P-256 or Ed25519')
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

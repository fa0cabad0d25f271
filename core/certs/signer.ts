/** Surface first: implementation follows in this file. */
import type { KeyObject } from 'node:crypto'
import type { Thumbprint } from '../ids.ts'

export type KeyAlgorithm = 'ES256' | 'EdDSA'
export interface Signer {
  readonly publicKey: KeyObject
  readonly algorithm: KeyAlgorithm
  /** ES256: over SHA-256 of the bytes, a DER Ecdsa-Sig-Value (as KMS answers). EdDSA: 64 raw bytes. */
  sign(bytes: Uint8Array, signal?: AbortSignal): Promise<Buffer>
}
export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}
export declare function keySigner(privateKey: KeyObject): Signer
export declare function generateKey(algorithm?: KeyAlgorithm): KeyPair
/** Throws ERR_CERT_REQUEST_REFUSED for a key that is not P-256 or Ed25519. */
export declare function keyAlgorithm(key: KeyObject): KeyAlgorithm
/** SubjectPublicKeyInfo in DER; kept per key object. */
export declare function spki(key: KeyObject): Buffer
export declare function thumbprint(key: KeyObject): Thumbprint
/** `sha256:<hex of SHA-256 of the SPKI>`, what `ca_pin` holds. */
export declare function caPin(key: KeyObject): string

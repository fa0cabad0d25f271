/** Surface first: implementation follows in this file. */
import type { KeyObject } from 'node:crypto'
import type { Instant } from '../clock.ts'
import type { Thumbprint } from '../ids.ts'
import type { KeyAlgorithm } from './signer.ts'

export type Usage = 'client' | 'server'
export interface Certificate {
  /** DER. */
  readonly raw: Buffer
  readonly subject: string
  readonly publicKey: KeyObject
  readonly algorithm: KeyAlgorithm
  readonly thumbprint: Thumbprint
  readonly uris: readonly string[]
  readonly dns: readonly string[]
  readonly ips: readonly string[]
  readonly usages: readonly Usage[]
  readonly isCa: boolean
  readonly notBefore: Instant
  readonly notAfter: Instant
  /** Hex. */
  readonly serial: string
  /** SHA-256 of the DER, base64url. */
  readonly fingerprint: string
  /** Value of an extension, or undefined. */
  extension(oid: string): Buffer | undefined
}
/** PEM (one block) or DER. Throws ERR_CERT_INVALID. */
export declare function readCertificate(pemOrDer: string | Uint8Array): Certificate
export declare function toPem(der: Uint8Array): string

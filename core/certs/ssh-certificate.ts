/** Surface first: implementation follows in this file. */
import type { KeyObject } from 'node:crypto'
import type { Instant } from '../clock.ts'
import type { Random } from '../random.ts'
import type { Signer } from './signer.ts'
import type { SshPublicKey } from './ssh-key.ts'

export type SshRole = 'user' | 'host'
export interface SshCertificateRequest {
  readonly role: SshRole
  /** A key, or its SSH blob. */
  readonly publicKey: KeyObject | Uint8Array
  readonly keyId: string
  readonly principals: readonly string[]
  readonly validAfter: Instant
  readonly validBefore: Instant
  /** Random when not given. */
  readonly serial?: bigint
  readonly criticalOptions?: Readonly<Record<string, string>>
  readonly extensions?: Readonly<Record<string, string>>
}
export interface SshCertificate {
  /** `…-cert-v01@openssh.com`. */
  readonly type: string
  readonly publicKey: SshPublicKey
  readonly serial: bigint
  readonly role: SshRole
  readonly keyId: string
  readonly principals: readonly string[]
  readonly validAfter: Instant
  readonly validBefore: Instant
  readonly criticalOptions: ReadonlyMap<string, string>
  readonly extensions: ReadonlyMap<string, string>
  readonly ca: SshPublicKey
  readonly signature: Buffer
  readonly signed: Buffer
  readonly blob: Buffer
}
/** The blob. Throws ERR_CERT_REQUEST_REFUSED, ERR_CERT_TTL_TOO_LONG. */
export declare function issueSshCertificate(
  request: SshCertificateRequest,
  signer: Signer,
  random?: Random,
): Promise<Buffer>
/** Throws ERR_CERT_INVALID. */
export declare function parseSshCertificate(blob: Uint8Array): SshCertificate
export type SshCertificateRefusal =
  | 'wrong role'
  | 'unknown CA'
  | 'bad signature'
  | 'not yet valid'
  | 'expired'
  | 'no principals'
  | 'principal not listed'
  | 'unknown critical option'
  | 'source address not allowed'
export interface VerifySshOptions {
  /** Blobs of the bare CA keys. */
  readonly cas: readonly Uint8Array[]
  readonly role: SshRole
  readonly principal?: string
  readonly now: Instant
  /** Address of the client; a certificate bound to addresses is refused without it. */
  readonly sourceAddress?: string
  /** Critical options that the caller itself enforces, as `force-command`. */
  readonly honours?: readonly string[]
}
/** Why it is refused, or undefined when it holds. */
export declare function verifySshCertificate(
  certificate: SshCertificate,
  options: VerifySshOptions,
): SshCertificateRefusal | undefined

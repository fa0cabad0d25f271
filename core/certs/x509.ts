/** Surface first: implementation follows in this file (readCertificate and verifyLeaf in x509-read.ts, x509-verify.ts). */
import type { KeyObject } from 'node:crypto'
import type { Instant } from '../clock.ts'
import type { Random } from '../random.ts'
import type { Signer } from './signer.ts'
import type { Certificate, Usage } from './x509-read.ts'

export interface CaRequest {
  readonly name: string
  readonly signer: Signer
  readonly notBefore: Instant
  readonly notAfter: Instant
}
/** DER. */
export declare function createCaCertificate(request: CaRequest, random?: Random): Promise<Buffer>
export interface Extension {
  readonly oid: string
  readonly critical: boolean
  readonly value: Buffer
}
export interface CertificateRequest {
  /** Common name. */
  readonly subject: string
  readonly publicKey: KeyObject
  readonly issuer: { readonly certificate: Certificate; readonly signer: Signer }
  readonly notBefore: Instant
  readonly notAfter: Instant
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
  readonly ips?: readonly string[]
  readonly usage: readonly Usage[]
  readonly extension?: Extension
}
/** DER. Throws ERR_CERT_REQUEST_REFUSED, ERR_CERT_TTL_TOO_LONG. */
export declare function issueCertificate(
  request: CertificateRequest,
  random?: Random,
): Promise<Buffer>

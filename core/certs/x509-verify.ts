/** Surface first: implementation follows in this file. */
import type { Instant } from '../clock.ts'
import type { Certificate, Usage } from './x509-read.ts'

export interface VerifyLeafOptions {
  /** The pinned CAs; nothing else is ever taken as an issuer. */
  readonly roots: readonly Certificate[]
  readonly now: Instant
  readonly usage: Usage
}
/** Throws ERR_CERT_INVALID with the exact reason in `internal`. */
export declare function verifyLeaf(certificate: Certificate, options: VerifyLeafOptions): void

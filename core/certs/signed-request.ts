/** Surface first: implementation follows in this file. */
import type { Instant } from '../clock.ts'
import type { Random } from '../random.ts'
import type { Identity } from './identity.ts'
import type { Signer } from './signer.ts'
import type { Certificate } from './x509-read.ts'

export interface RequestToSign {
  readonly method: string
  readonly url: string | URL
  /** Absent is the empty body. */
  readonly body?: Uint8Array | string
  readonly cluster: string
  readonly certificate: Certificate
  readonly signer: Signer
  /** Corrected by the offset learned from ERR_CLOCK. */
  readonly now: Instant
  readonly random?: Random
}
/** Value of the Authorization header: `Postern <jws>`. */
export declare function signRequest(request: RequestToSign): Promise<string>
export interface RequestToVerify {
  readonly method: string
  /** The configured public origins, as `https://access.example.com`. */
  readonly origins: readonly string[]
  /** Path with query, exactly as received. */
  readonly pathAndQuery: string
  readonly body: Uint8Array | string
  readonly cluster: string
  readonly roots: { readonly host: readonly Certificate[]; readonly user: readonly Certificate[] }
  readonly now: Instant
}
export interface SignedRequest {
  readonly identity: Identity
  readonly certificate: Certificate
  /** To be stored for writes, so that a request is not replayed. */
  readonly jti: string
  readonly iat: Instant
}
/** Throws ERR_CLOCK (with details.serverTime) or ERR_PROOF_INVALID. */
export declare function verifySignedRequest(
  header: string,
  request: RequestToVerify,
): Promise<SignedRequest>

/**
 * What an OPEN asks for (SPEC.md, "Opening a stream"). The route finds the way and the offer says, signed by the user, what
 * the stream is for; neither grants anything: TLS or SSH inside the stream does. (Surface first; implementation follows.)
 */
import type { Instant } from '../clock.ts'
import type { ResourceKind, ServiceKind } from '../domain/service.ts'
import type { Random } from '../random.ts'
import type { UserIdentity } from '../certs/identity.ts'
import type { Signer } from '../certs/signer.ts'
import type { Certificate } from '../certs/x509-read.ts'

export interface ResourceOpen {
  readonly v: 1
  /** The service of the agent that is to answer. */
  readonly kind: Exclude<ServiceKind, 'discovery'>
  /** Route JWS of the control plane. */
  readonly route: string
  /** Offer JWS of the user. */
  readonly offer: string
  /** Added by the proxy for the audit log: UNTRUSTED by the agent. */
  readonly peer?: { readonly ip: string } | undefined
}
/** Proxy to agent: DATA of the stream is the signed policy JWS, then FIN. */
export interface PolicyOpen {
  readonly v: 1
  readonly kind: 'policy'
  /** Version the proxy holds, so that an agent that has it may refuse. Untrusted. */
  readonly hint?: number | undefined
}
export type OpenRequest = ResourceOpen | PolicyOpen

export declare function encodeOpen(request: OpenRequest): Buffer
/** Throws ERR_INPUT_INVALID or ERR_INPUT_TOO_LARGE. */
export declare function decodeOpen(payload: Buffer): OpenRequest

export const OFFER_TYP = 'postern-offer+jws'
/** Payload of the offer. Times are epoch seconds. */
export interface Offer {
  /** Stream id: 16 random bytes, base64url. It outlives the connection once streams are resumable. */
  readonly sid: string
  readonly jti: string
  /** SHA-256 of the route JWS, base64url. */
  readonly route: string
  readonly kind: Exclude<ServiceKind, 'discovery'>
  readonly resource: { readonly kind: ResourceKind; readonly name: string }
  /** Ephemeral X25519 public key, 32 raw bytes base64url; kept for resumption. */
  readonly x25519: string
  readonly aud: string
  readonly iat: number
  readonly exp: number
}
export interface OfferRequest {
  readonly cluster: string
  readonly route: string
  readonly kind: Offer['kind']
  readonly resource: Offer['resource']
  readonly identity: { readonly certificate: Certificate; readonly signer: Signer }
  readonly now: Instant
  readonly random: Random
}
export interface SignedOffer {
  readonly jws: string
  readonly offer: Offer
  /** PKCS #8 DER of the ephemeral key, never sent. */
  readonly ephemeralKey: Buffer
}
export declare function signOffer(request: OfferRequest): Promise<SignedOffer>

export interface OfferCheck {
  readonly cluster: string
  /** The route of the same OPEN; its hash must be in the offer. */
  readonly route: string
  readonly kind: Offer['kind']
  readonly userCas: readonly Certificate[]
  readonly now: Instant
}
export interface VerifiedOffer {
  readonly identity: UserIdentity
  readonly certificate: Certificate
  readonly offer: Offer
}
/** Throws ERR_PROOF_INVALID, ERR_CLOCK; the exact reason is in `internal`. The caller compares `offer.resource` with the route's. */
export declare function verifyOffer(jws: string, check: OfferCheck): Promise<VerifiedOffer>

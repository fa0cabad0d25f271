/**
 * The policy: everything an agent needs to decide by itself, signed by the policy key (protocols.md 6). Two signed objects:
 * the document, which changes with roles, users, locks or CAs, and a freshness stamp, which says "version V was the newest at T".
 */
import * as z from 'zod'
import type { Lock } from './lock.ts'
import type { Role } from './role.ts'

/** CAs as agents and clients need them. PEM X.509 CA certificates; SSH CA public keys as `type base64`. */
export interface CaBundle {
  readonly host: { readonly x509: readonly string[]; readonly ssh: readonly string[] }
  readonly user: { readonly x509: readonly string[]; readonly ssh: readonly string[] }
  /** Public JWKs of the policy key(s), newest first. */
  readonly policy: readonly JsonWebKeyLike[]
}
export interface JsonWebKeyLike {
  readonly kty: string
  readonly crv?: string
  readonly x?: string
  readonly y?: string
  readonly kid?: string
  readonly alg?: string
}

/** Payload of the policy JWS, typ `postern-policy+jws`. Times are epoch seconds. */
export interface Policy {
  readonly cluster: string
  readonly version: number
  readonly issued: number
  readonly expires: number
  readonly roles: readonly Role[]
  /** The roles each user holds now; a user that is not listed holds none. */
  readonly users: Readonly<Record<string, readonly string[]>>
  readonly locks: readonly Lock[]
  /** In each list the one that signs comes first. */
  readonly cas: CaBundle
  /** Counts changes of the CAs. */
  readonly caVersion?: number
  /** `sha256:…` of host CA keys that are trusted no more, whatever a configuration pins. */
  readonly retired?: readonly string[]
  /** By when an agent whose certificate is not of the first host CA has renewed it; epoch seconds. */
  readonly renewBy?: number
}

/** Payload of the freshness JWS, typ `postern-fresh+jws`. */
export const freshness = z.strictObject({
  cluster: z.string(),
  version: z.int(),
  /** SHA-256 of the policy JWS's payload bytes, base64url. */
  digest: z.string(),
  issued: z.int(),
})
export type Freshness = z.output<typeof freshness>

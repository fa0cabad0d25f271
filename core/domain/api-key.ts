/**
 * API keys: how programs call the control plane. A key acts for a user, does at most what its scopes say and never more than its
 * owner may do at that moment. The secret is made by the server, shown once and kept only as a SHA-256.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import type { Instant } from '../clock.ts'
import { duration } from '../duration.ts'
import type { KeyId } from '../ids.ts'
import { LIMITS } from '../limits.ts'
import type { Random } from '../random.ts'
import { handleName, userName } from './name.ts'
import { apiRule, type ApiRule } from './role.ts'

export interface ApiKey {
  readonly id: KeyId
  /** Readable, for lists and the audit log. */
  readonly name: string
  /** The user it acts for. */
  readonly owner: string
  /** What it may do at most, as rules of roles say it. */
  readonly scopes: readonly ApiRule[]
  readonly created: Instant
  /** undefined = until revoked; only keys of a bootstrap are so. */
  readonly expires: Instant | undefined
}

/** `POST /v1/keys`. */
export const keyRequest = z.strictObject({
  name: handleName,
  scopes: z.array(apiRule).min(1, 'name at least one scope').max(LIMITS.apiKeyScopes.value),
  /** Default 90 days. */
  ttl: duration.optional(),
  /** Default: the user who asks. */
  owner: userName.optional(),
})
export type KeyRequest = z.output<typeof keyRequest>

/** `pst_key_` and 43 base64url characters: 256 bits. */
export const newKeySecret = (random: Random): string =>
  `pst_key_${random.bytes(LIMITS.tokenBytes.value).toString('base64url')}`
export const isKeySecret = (text: string): boolean => /^pst_key_[A-Za-z0-9_-]{43}$/.test(text)
/** What is stored and looked up; base64url SHA-256 of the whole secret, prefix included. */
export const apiKeyHash = (secret: string): string =>
  createHash('sha256').update(secret, 'utf8').digest('base64url')

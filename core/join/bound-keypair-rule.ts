/**
 * The `spec.bound_keypair` of a token, in the words that existing token files use. One token is one machine: the first join
 * registers its key, by a registration secret or because the key was named beforehand.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import * as z from 'zod'
import { thumbprint } from '../certs/signer.ts'
import { parsePublicKey } from '../certs/ssh-key.ts'
import { instant, iso, type Instant } from '../clock.ts'
import { AppError, badField } from '../errors.ts'
import type { Thumbprint } from '../ids.ts'
import type { Random } from '../random.ts'
import { decodeKey } from './messages.ts'

export const RECOVERY_MODES = ['standard', 'relaxed', 'insecure'] as const
type RecoveryMode = (typeof RECOVERY_MODES)[number]

export interface BoundKeypairRules {
  /** Of the key named beforehand. */
  readonly initialKey: Thumbprint | undefined
  /** SHA-256 of the registration secret, base64url; the secret itself is nowhere. */
  readonly secretHash: string | undefined
  readonly registerBefore: Instant | undefined
  /** `standard`: limit and join state hold. `relaxed`: the join state holds. `insecure`: neither. */
  readonly mode: RecoveryMode
  /** Joins of each service in all, the first included. */
  readonly limit: number
}

export const boundKeypairSpec = z.strictObject({
  onboarding: z
    .strictObject({
      initial_public_key: z.string().min(1).max(1024).optional(),
      registration_secret: z.string().min(32, 'use at least 32 characters').max(256).optional(),
      must_register_before: z.iso.datetime({ offset: true }).optional(),
    })
    .optional(),
  recovery: z
    .strictObject({
      limit: z.int().min(1).max(100_000).optional(),
      mode: z.enum(RECOVERY_MODES).optional(),
    })
    .optional(),
})

export const BOUND_KEYPAIR_SUGGESTIONS = {
  rotate_after: 'keys are not rotated by the server in this version; mint a new token instead',
} as const

export const newRegistrationSecret = (random: Random): string =>
  `pst_reg_${random.bytes(32).toString('base64url')}`
export const registrationHash = (secret: string): string =>
  createHash('sha256').update(secret, 'utf8').digest('base64url')
export const isRegistrationSecret = (rules: BoundKeypairRules, secret: string): boolean =>
  rules.secretHash !== undefined &&
  timingSafeEqual(Buffer.from(rules.secretHash), Buffer.from(registrationHash(secret)))

const KEY_FIELD = 'spec.bound_keypair.onboarding.initial_public_key'

/** A line as in authorized_keys, or base64url of the SPKI. Only P-256 and Ed25519 keys have a thumbprint here. */
function keyOf(text: string): Thumbprint {
  const line =
    /^(?:ssh-ed25519|ecdsa-sha2-nistp256) ([A-Za-z0-9+/]{1,512}={0,2})(?: [^\n]*)?$/.exec(
      text.trim(),
    )
  try {
    const { key } = line ? parsePublicKey(Buffer.from(line[1] ?? '', 'base64')) : { key: undefined }
    return thumbprint(key ?? decodeKey(text, KEY_FIELD))
  } catch (cause) {
    if (!line && cause instanceof AppError) throw cause
    throw badField(KEY_FIELD, 'use an Ed25519 or P-256 public key, as in authorized_keys')
  }
}

/** Without a key and without a secret, the server makes the secret (`newRegistrationSecret`) and shows it once. */
export function boundKeypairRules(spec: z.output<typeof boundKeypairSpec>): BoundKeypairRules {
  const { onboarding = {}, recovery = {} } = spec
  const given = onboarding.initial_public_key
  if (given !== undefined && onboarding.registration_secret !== undefined)
    throw badField(KEY_FIELD, 'give either a key or a registration secret, never both')
  const secret = onboarding.registration_secret
  const before = onboarding.must_register_before
  return {
    initialKey: given === undefined ? undefined : keyOf(given),
    secretHash: secret === undefined ? undefined : registrationHash(secret),
    registerBefore: before === undefined ? undefined : instant(Date.parse(before)),
    mode: recovery.mode ?? 'standard',
    limit: recovery.limit ?? 1,
  }
}

/** The rules as the API shows them: neither secret nor hash. */
export const boundKeypairOf = (
  rules: BoundKeypairRules,
): z.output<typeof boundKeypairDocument> => ({
  ...(rules.initialKey === undefined ? {} : { initial_key_thumbprint: rules.initialKey }),
  ...(rules.registerBefore === undefined
    ? {}
    : { must_register_before: iso(rules.registerBefore) }),
  recovery: { limit: rules.limit, mode: rules.mode },
})
export const boundKeypairDocument = z.object({
  initial_key_thumbprint: z.string().optional(),
  must_register_before: z.string().optional(),
  recovery: z.object({ limit: z.int(), mode: z.enum(RECOVERY_MODES) }),
})

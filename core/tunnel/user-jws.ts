/**
 * What a user signs for the agent (SPEC.md sections 6 and 9): a compact JWS whose `x5c` is the user's certificate alone, over
 * claims that name the cluster and the route they go with, and live for a minute.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import { fromSeconds, seconds, type Instant } from '../clock.ts'
import { AppError, reasonOf } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { identityOf, type UserIdentity } from '../certs/identity.ts'
import { jwsSign, jwsVerify, untrustedJwsHeader } from '../certs/jws.ts'
import { readCertificate, type Certificate } from '../certs/x509-read.ts'
import { verifyLeaf } from '../certs/x509-verify.ts'
import { resourceName } from '../domain/name.ts'
import type { OwnIdentity } from './handshake.ts'

export const base64url = z.string().regex(/^[A-Za-z0-9_-]+$/)

/** What every such JWS says besides its own claims. */
export const userClaims = {
  /** SHA-256 of the route JWS. */
  route: base64url.length(43),
  aud: resourceName,
  iat: z.int(),
  exp: z.int(),
}

export const sha256 = (text: string): string =>
  createHash('sha256').update(text).digest('base64url')

export interface UserSigned {
  readonly cluster: string
  readonly route: string
  readonly identity: OwnIdentity
  readonly now: Instant
}

export const commonClaims = (
  by: UserSigned,
): { route: string; aud: string; iat: number; exp: number } => ({
  route: sha256(by.route),
  aud: by.cluster,
  iat: seconds(by.now),
  exp: seconds(by.now) + LIMITS.offerTtl.value / 1000,
})

export const signAsUser = (
  identity: OwnIdentity,
  header: { readonly typ: string; readonly rsm?: 1 },
  claims: object,
): Promise<string> =>
  jwsSign(
    identity.signer,
    { ...header, x5c: [identity.certificate.raw.toString('base64')] },
    claims,
  )

export interface UserJwsCheck {
  readonly cluster: string
  /** The route of the same OPEN; its hash must be in the claims. */
  readonly route: string
  readonly userCas: readonly Certificate[]
  readonly now: Instant
}
export interface VerifiedUser<C> {
  readonly identity: UserIdentity
  readonly certificate: Certificate
  readonly claims: C
  /** The signer can resume streams. */
  readonly resumable: boolean
}

export const badUserJws = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `offer: ${internal}`, cause })

/** Not strict: a header may say more than an older agent knows, as `rsm` does. */
const header = z.object({
  typ: z.string(),
  x5c: z.tuple([z.base64().max(Math.ceil((LIMITS.certSize.value * 4) / 3) + 4)]),
  rsm: z.literal(1).optional(),
})

/** The `typ` that the JWS claims to be of; nothing is verified yet. Throws ERR_PROOF_INVALID. */
export const untrustedTyp = (text: string): unknown =>
  untrustedJwsHeader(text, LIMITS.openPayload.value)['typ']

/** Throws ERR_PROOF_INVALID or ERR_CLOCK; the exact reason is in `internal`. */
export async function verifyAsUser<
  C extends { route: string; aud: string; iat: number; exp: number },
>(text: string, typ: string, schema: z.ZodType<C>, check: UserJwsCheck): Promise<VerifiedUser<C>> {
  const maxBytes = LIMITS.openPayload.value
  const head = header.safeParse(untrustedJwsHeader(text, maxBytes))
  if (!head.success || head.data.typ !== typ) throw badUserJws('header', head.error)
  const { certificate, identity } = userOf(head.data.x5c[0], check)
  const { payload } = await jwsVerify(text, {
    keys: [certificate.publicKey],
    algorithms: ['ES256', 'EdDSA'],
    typ,
    maxBytes,
  })
  const claims = schema.safeParse(payload)
  if (!claims.success) throw badUserJws('claims', claims.error)
  checkClaims(claims.data, check)
  return { identity, certificate, claims: claims.data, resumable: head.data.rsm === 1 }
}

function userOf(
  encoded: string,
  check: UserJwsCheck,
): { certificate: Certificate; identity: UserIdentity } {
  try {
    const certificate = readCertificate(Buffer.from(encoded, 'base64'))
    verifyLeaf(certificate, { roots: check.userCas, now: check.now, usage: 'client' })
    const identity = identityOf(certificate)
    if (identity.kind !== 'user')
      throw badUserJws(`signed by a certificate of kind ${identity.kind}`)
    if (identity.cluster !== check.cluster) throw badUserJws('user of another cluster')
    return { certificate, identity }
  } catch (e) {
    throw badUserJws(reasonOf(e), e)
  }
}

function checkClaims(
  claims: { route: string; aud: string; iat: number; exp: number },
  check: UserJwsCheck,
): void {
  if (claims.aud !== check.cluster) throw badUserJws('audience')
  if (claims.route !== sha256(check.route)) throw badUserJws('for another route')
  if (claims.exp - claims.iat > LIMITS.offerTtl.value / 1000) throw badUserJws('lives too long')
  const early = fromSeconds(claims.iat) - check.now
  const late = check.now - fromSeconds(claims.exp)
  if (early > LIMITS.proofWindow.value || late > 0)
    throw new AppError('ERR_CLOCK', undefined, {
      details: { serverTime: check.now },
      internal: `offer: made at ${claims.iat}, ends at ${claims.exp}`,
    })
}

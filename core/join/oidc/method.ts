/**
 * The engine of every method whose evidence is an id token: from the token resource follows whom to trust, from the evidence
 * follow claims. Bearer evidence: whoever holds the id token may show it, so it is spent by the first agent that does.
 */
import * as z from 'zod'
import { plus } from '../../clock.ts'
import { LIMITS } from '../../limits.ts'
import type { JoinToken } from '../../domain/token.ts'
import type { JoinMethod } from '../join-method.ts'
import { ExpressionFailure } from './expression/functions.ts'
import { parseJwks, type IssuerKey, type IssuerKeys } from './jwks.ts'
import { issuerOf, notedClaims, trustOf, type Preset, type Trusted } from './preset.ts'
import type { OidcMethodName } from '../../domain/join-method.ts'
import { readReview, type TokenReviewer } from './review.ts'
import { refuse, verifyIdToken, verifyVouched } from './verify.ts'

const evidence = z.strictObject({ id_token: z.string().min(1).max(LIMITS.idToken.value) })
export type IdTokenEvidence = z.output<typeof evidence>

/** The token's block for this method, checked again: what the table holds was written by some earlier version. */
function blockOf(preset: Preset, token: JoinToken): unknown {
  const block = preset.block.safeParse(token.methodSpec?.[preset.name])
  if (!block.success) throw refuse(`the token's block ${preset.name} is not usable`, block.error)
  return block.data
}

export interface OidcDeps {
  readonly issuerKeys: IssuerKeys
  readonly reviewer: TokenReviewer
}

export function oidcMethod(
  preset: Preset<OidcMethodName>,
  { issuerKeys: issuers, reviewer }: OidcDeps,
): JoinMethod<IdTokenEvidence> {
  const keysOf = (trusted: Trusted) => async (kid: string | undefined) => {
    if (trusted.jwks !== undefined) return parseJwks(Buffer.from(trusted.jwks, 'utf8'))
    const issuer = issuerOf(trusted)
    return issuer ? issuers.of(issuer, kid) : ([] as readonly IssuerKey[])
  }

  const reviewed = async (given: string, audience: string) =>
    readReview(await reviewer.review(given, audience), audience)

  return {
    name: preset.name,
    strength: 'bearer',
    tokenBy: 'name',
    evidence,
    async verify({ id_token: given }, { token, cluster, now }) {
      if (!token) throw refuse('unknown token')
      const trusted = preset.trusted(blockOf(preset, token) as never)
      const trust = trustOf(preset, trusted, cluster)
      const verified = trusted.reviewed
        ? await verifyVouched(given, trust, () => reviewed(given, trust.audience), now)
        : await verifyIdToken(given, trust, keysOf(trusted), now)
      const { claims, subject, expires, id } = verified
      return {
        subject,
        attributes: notedClaims(preset, claims),
        claims,
        token: { by: 'name', name: token.name },
        spend: { id, until: plus(expires, LIMITS.idTokenSkew.value) },
      }
    },
    refusal(token, { claims }) {
      try {
        return claims !== undefined && preset.admits(blockOf(preset, token) as never, claims)
          ? undefined
          : 'no rule of the token fits'
      } catch (error) {
        if (error instanceof ExpressionFailure)
          return `an expression of the token cannot be decided: ${error.message}`
        throw error
      }
    },
  }
}

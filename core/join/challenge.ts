/**
 * The join challenge (protocols.md 1.4): everything the server has to remember between the two calls, sealed and handed out.
 * Replayed within its minute it can only give the same identity to the same keys.
 */
import * as z from 'zod'
import { fromSeconds, plus, seconds, type Instant } from '../clock.ts'
import { IDENTITY_KINDS, type IdentityKind } from '../domain/service.ts'
import { JOIN_METHODS, type JoinMethodName } from '../domain/join-method.ts'
import type { Thumbprint } from '../ids.ts'
import { LIMITS } from '../limits.ts'
import type { Sealer } from '../seal.ts'

export interface Challenge {
  readonly method: JoinMethodName
  /** Handle of the token: its public name, or the hash of its secret. */
  readonly token: string
  readonly service: IdentityKind
  readonly enrolment: Thumbprint
  readonly serviceKey: Thumbprint
  /** What the method wants to know again, of its own (Opening). */
  readonly kept?: string | undefined
  readonly expires: Instant
}

const CONTEXT = 'join-challenge.v1'
const thumb = z.string().transform((text) => text as Thumbprint)
const sealedShape = z.strictObject({
  m: z.enum(JOIN_METHODS),
  t: z.string(),
  s: z.enum(IDENTITY_KINDS),
  e: thumb,
  k: thumb,
  o: z.string().optional(),
  x: z.int(),
})

export function sealChallenge(
  sealer: Sealer,
  bound: Omit<Challenge, 'expires'>,
  now: Instant,
): { readonly challenge: string; readonly expires: Instant } {
  const x = seconds(plus(now, LIMITS.challengeTtl.value))
  const shape: z.input<typeof sealedShape> = {
    m: bound.method,
    t: bound.token,
    s: bound.service,
    e: bound.enrolment,
    k: bound.serviceKey,
    ...(bound.kept === undefined ? {} : { o: bound.kept }),
    x,
  }
  const challenge = sealer.seal(Buffer.from(JSON.stringify(shape), 'utf8'), CONTEXT)
  return { challenge, expires: fromSeconds(x) }
}

/** The challenge, or undefined when this server did not seal it. Expiry is the caller's check: it is told apart there. */
export function openChallenge(sealer: Sealer, sealed: string): Challenge | undefined {
  const plain = sealer.open(sealed, CONTEXT)
  if (!plain) return undefined
  const { m, t, s, e, k, o, x } = sealedShape.parse(JSON.parse(plain.toString('utf8')))
  const bound = { method: m, token: t, service: s, enrolment: e, serviceKey: k }
  return { ...bound, kept: o, expires: fromSeconds(x) }
}

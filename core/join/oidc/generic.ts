/**
 * Preset `oidc`: any issuer. `must_match_fields` are claims that must all be as given, nested as the claims are; of `allow_any` one
 * entry must hold, and an entry holds when all of its conditions do.
 */
import * as z from 'zod'
import { at, claim, type Claims } from './claims.ts'
import { staticJwks } from './jwks.ts'
import { ANY, audience, issuerUrl, type Preset } from './preset.ts'

const scalar = z.union([z.string().max(512), z.number(), z.boolean()])
const name = z
  .string()
  .min(1)
  .max(256)
  .refine((word) => word !== '__proto__', 'this word is reserved')
const record = <T extends z.ZodType>(inner: T) =>
  z
    .record(name, z.union([scalar, inner]))
    .refine((fields) => Object.keys(fields).length > 0, 'name at least one claim')
const mustMatch = record(record(record(z.record(name, scalar))))

const one = z.strictObject({ value: z.string().max(512) })
const several = z.strictObject({ values: z.array(z.string().max(512)).min(1).max(64) })
const condition = z
  .strictObject({
    /** Claims by name, dots between: `job.project`. */
    attribute: z.string().min(1).max(256),
    eq: one.optional(),
    not_eq: one.optional(),
    in: several.optional(),
    not_in: several.optional(),
  })
  .refine(
    (c) => [c.eq, c.not_eq, c.in, c.not_in].filter((op) => op !== undefined).length === 1,
    'give exactly one of eq, not_eq, in, not_in',
  )
type Condition = z.output<typeof condition>

const block = z
  .strictObject({
    issuer: issuerUrl,
    /** Default: the cluster's name. */
    audience: audience.optional(),
    static_jwks: staticJwks.optional(),
    /** PEM of the CA of the issuer's HTTPS, for one that no public CA vouches for. */
    tls_ca: z
      .string()
      .max(16_384)
      .regex(/^-----BEGIN CERTIFICATE-----/, 'use a CA certificate in PEM')
      .optional(),
    must_match_fields: mustMatch.optional(),
    allow_any: z
      .array(z.strictObject({ conditions: z.array(condition).min(1).max(32) }))
      .min(1)
      .max(100)
      .optional(),
  })
  .superRefine((value, ctx) => {
    const { must_match_fields: must, allow_any: any } = value
    if (!must && !any)
      ctx.addIssue({
        code: 'custom',
        message:
          'give must_match_fields or allow_any: the issuer alone vouches for everybody it knows',
      })
    // What is only forbidden lets in everybody else whom the issuer knows.
    else if (!must && any?.some((entry) => entry.conditions.every((c) => c.not_eq ?? c.not_in)))
      ctx.addIssue({
        code: 'custom',
        path: ['allow_any'],
        message: 'an entry of not_eq and not_in alone lets in everybody else; add eq or in',
      })
  })
type Block = z.output<typeof block>

const isRecord = (value: unknown): value is Claims =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function fieldsMatch(wanted: Claims, has: Claims): boolean {
  return Object.entries(wanted).every(([key, value]) => {
    const found = claim(has, key)
    return isRecord(value) ? isRecord(found) && fieldsMatch(value, found) : found === value
  })
}

/** Conditions compare texts; numbers and booleans by how JSON writes them. A claim that is missing satisfies none of them. */
function holds(condition: Condition, claims: Claims): boolean {
  const found = claim(claims, condition.attribute) ?? at(claims, condition.attribute.split('.'))
  if (!['string', 'number', 'boolean'].includes(typeof found)) return false
  const value = String(found)
  if (condition.eq) return value === condition.eq.value
  if (condition.not_eq) return value !== condition.not_eq.value
  if (condition.in) return condition.in.values.includes(value)
  return condition.not_in !== undefined && !condition.not_in.values.includes(value)
}

export const genericPreset: Preset<'oidc'> = {
  name: 'oidc',
  block,
  trusted: (given: Block) => ({
    issuer: given.issuer,
    audience: given.audience,
    jwks: given.static_jwks,
    ca: given.tls_ca,
  }),
  algorithms: ANY,
  admits(given: Block, claims: Claims) {
    const { must_match_fields: must, allow_any: any } = given
    if (must && !fieldsMatch(must, claims)) return false
    return any === undefined || any.some((e) => e.conditions.every((c) => holds(c, claims)))
  },
  noted: ['aud', 'azp', 'email', 'jti'],
}

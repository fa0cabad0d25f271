/**
 * Preset `oidc`: any issuer. `must_match_fields` are claims that must all be as given, nested as the claims are; of `allow_any` one
 * entry must hold, and an entry holds when all of its conditions do, or its expression.
 */
import * as z from 'zod'
import { at, claim, type Claims } from './claims.ts'
import { expressionHolds } from './expression/evaluate.ts'
import { expressionFlaw, parseExpression } from './expression/parse.ts'
import { namesSomebody } from './expression/scope.ts'
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

const expression = z.string().superRefine((given, ctx) => {
  const wrong = expressionFlaw(given)
  if (wrong !== undefined) ctx.addIssue({ code: 'custom', message: wrong })
})
const entry = z
  .strictObject({
    conditions: z.array(condition).min(1).max(32).optional(),
    /** Part of Teleport's predicate language, over `claims`. */
    expression: expression.optional(),
  })
  .refine(
    (e) => (e.conditions === undefined) !== (e.expression === undefined),
    'give either conditions or an expression',
  )
type Entry = z.output<typeof entry>

/** Whether an entry says who is let in, and not only who is not. One that is malformed is told of elsewhere. */
const isPositive = ({ conditions, expression: given }: Entry): boolean =>
  given === undefined
    ? conditions?.some((c) => c.eq ?? c.in) !== false
    : expressionFlaw(given) !== undefined || namesSomebody(parseExpression(given))

const block = z
  .strictObject({
    issuer: issuerUrl,
    /** Default: the cluster's name. */
    audience: audience.optional(),
    static_jwks: staticJwks.optional(),
    /** PEM of the CA of the issuer's HTTPS, for one that no public CA vouches for. */
    insecure_allow_http_issuer: z
      .literal(false, 'an issuer is asked over HTTPS only; give its keys as static_jwks')
      .optional(),
    tls_ca: z
      .string()
      .max(16_384)
      .regex(/^-----BEGIN CERTIFICATE-----/, 'use a CA certificate in PEM')
      .optional(),
    must_match_fields: mustMatch.optional(),
    allow_any: z.array(entry).min(1).max(100).optional(),
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
    else if (!must && !any?.every(isPositive))
      ctx.addIssue({
        code: 'custom',
        path: ['allow_any'],
        message:
          'an entry that only says who is not meant lets in everybody else; add eq or in, or == to its expression',
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
  // Two numbers that JSON cannot tell apart would be taken for one.
  if (typeof found === 'number' && Number.isInteger(found) && !Number.isSafeInteger(found))
    return false
  const value = String(found)
  const is = (wanted: string): boolean =>
    value === wanted ||
    (typeof found === 'number' && /^-?\d+(\.\d+)?$/.test(wanted) && Number(wanted) === found)
  if (condition.eq) return is(condition.eq.value)
  if (condition.not_eq) return !is(condition.not_eq.value)
  if (condition.in) return condition.in.values.some(is)
  return condition.not_in !== undefined && !condition.not_in.values.some(is)
}

/** Throws ExpressionFailure: what an expression cannot decide lets in nobody, whatever the entries after it say. */
const entryHolds = ({ conditions = [], expression: given }: Entry, claims: Claims): boolean =>
  given === undefined
    ? conditions.every((c) => holds(c, claims))
    : expressionHolds(parseExpression(given), claims)

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
    return any === undefined || any.some((e) => entryHolds(e, claims))
  },
  noted: ['aud', 'azp', 'email', 'jti'],
}

/**
 * What tells one issuer of id tokens from another. A preset is data: which block of the token resource it reads, whom that block
 * trusts, and which claims its rules are about. The engine (method.ts) is the same for all.
 */
import * as z from 'zod'
import type { JwsAlgorithm } from '../../certs/jws.ts'
import { at, type Claims } from './claims.ts'
import { matches, rules, type Fields } from './fields.ts'
import type { Issuer } from './jwks.ts'
import type { Trust } from './verify.ts'

/** Whom a block of a token resource trusts. */
export interface Trusted {
  /** undefined = whatever the given keys signed. */
  readonly issuer: string | undefined
  /** undefined = the cluster's name. */
  readonly audience?: string | undefined
  /** A key set given with the token; without one the issuer is asked. */
  readonly jwks?: string | undefined
  /** Neither keys nor issuer: the cluster that we run in is asked about each token. */
  readonly reviewed?: boolean
  readonly ca?: string | undefined
}

export interface Preset<N extends string = string> {
  /** Of the join method, of its block in the token resource, and of its page in docs/join. */
  readonly name: N
  readonly block: z.ZodType
  trusted(block: never): Trusted
  readonly algorithms: readonly JwsAlgorithm[]
  /** Longest life of an id token, ms. */
  readonly maxLife?: number
  /** Whether some rule of the block fits. Pure. */
  admits(block: never, claims: Claims): boolean
  /** Claims that the audit log has, besides the subject. Dots go inside. */
  readonly noted: readonly string[]
}

/** `host` or `host:port`, lower case: it becomes part of a URL. */
export const host = z
  .string()
  .max(253)
  .regex(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:\d{1,5})?$/,
    'use a host name, without https:// and without a path',
  )
/** An id of somebody else's that becomes part of a URL. */
export const urlWord = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/, 'use letters, digits, "-" and "_"')
export const audience = z.string().min(1).max(512)

/** An issuer by its URL, exactly as its tokens name it. */
export const issuerUrl = z
  .string()
  .max(512)
  .refine((given) => {
    const url = URL.canParse(given) ? new URL(given) : undefined
    return (
      url?.protocol === 'https:' &&
      url.username === '' &&
      url.password === '' &&
      !/[?#\s\\]/.test(given)
    )
  }, 'use an https URL without user, query and fragment')

export const RS256: readonly JwsAlgorithm[] = ['RS256']
export const ANY: readonly JwsAlgorithm[] = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA']

interface Allowing {
  readonly allow: readonly Readonly<Record<string, unknown>>[]
}

/** A preset whose rules are records of claims, which is all of them but one. */
export function preset<const N extends string, S extends z.ZodRawShape>(given: {
  readonly name: N
  /** Fields of the block besides `allow`. */
  readonly shape: S
  readonly check?: (block: z.output<z.ZodObject<S>>) => string | undefined
  readonly trusted: (block: z.output<z.ZodObject<S>>) => Trusted
  readonly fields: Fields
  readonly needs: readonly (readonly string[])[]
  readonly globs?: (block: z.output<z.ZodObject<S>>) => boolean
  readonly algorithms?: readonly JwsAlgorithm[]
  readonly maxLife?: number
  readonly noted: readonly string[]
}): Preset<N> {
  type Block = z.output<z.ZodObject<S>>
  const block = z
    .strictObject({ ...given.shape, allow: rules(given.fields, given.needs) })
    .superRefine((value, ctx) => {
      const message = given.check?.(value as unknown as Block)
      if (message !== undefined) ctx.addIssue({ code: 'custom', message })
    })
  return {
    name: given.name,
    block,
    trusted: (value: Block) => given.trusted(value),
    algorithms: given.algorithms ?? RS256,
    ...(given.maxLife === undefined ? {} : { maxLife: given.maxLife }),
    admits: (value: Block & Allowing, claims: Claims) => {
      const options = { globs: given.globs?.(value) ?? true }
      return value.allow.some((rule) => matches(given.fields, rule, claims, options))
    },
    noted: given.noted,
  }
}

export const trustOf = (preset: Preset, trusted: Trusted, cluster: string): Trust => ({
  issuer: trusted.issuer,
  audience: trusted.audience ?? cluster,
  algorithms: preset.algorithms,
  maxLife: preset.maxLife,
})

export const issuerOf = (trusted: Trusted): Issuer | undefined =>
  trusted.issuer === undefined ? undefined : { url: trusted.issuer, ca: trusted.ca }

/** Claims as the audit log has them; long ones are cut. Nothing in an id token is a secret but its signature. */
export function notedClaims(preset: Preset, claims: Claims): Record<string, string> {
  const noted: Record<string, string> = {}
  for (const name of ['iss', ...preset.noted]) {
    // Claim names may hold dots themselves, as CircleCI's do.
    const value = at(claims, [name]) ?? at(claims, name.split('.'))
    if (value === undefined || value === null) continue
    noted[name] = (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, 256)
  }
  return noted
}

/**
 * A connector: an issuer of id tokens whose subjects may call the API, and which roles their claims give them. So a CI job mints
 * a join token with what its platform hands to it anyway, and no secret is stored anywhere.
 */
import * as z from 'zod'
import type { Instant } from '../clock.ts'
import { globMatches } from '../glob.ts'
import { at, claim, type Claims } from '../join/oidc/claims.ts'
import { staticJwks } from '../join/oidc/jwks.ts'
import { audience, issuerUrl } from '../join/oidc/preset.ts'
import { LIMITS } from '../limits.ts'
import { handleName } from './name.ts'

type Scalar = string | number | boolean
/** All claims must fit; of several values for one claim, any. `*` and `?` in a text are patterns. */
export interface ClaimRule {
  readonly claims: Readonly<Record<string, readonly Scalar[]>>
  readonly roles: readonly string[]
}

export interface OidcConnector {
  readonly name: string
  readonly description: string | undefined
  readonly issuer: string
  /** undefined = the cluster's name. */
  readonly audience: string | undefined
  /** A key set given here; undefined = the issuer is asked. */
  readonly jwks: string | undefined
  /** PEM of the only CA to trust for the issuer's HTTPS; undefined = the public ones. */
  readonly ca: string | undefined
  readonly rules: readonly ClaimRule[]
  readonly created: Instant
}

const text = z.string().min(1).max(512)
const scalar = z.union([text, z.number(), z.boolean()])
const onlyStars = (value: Scalar): boolean => typeof value === 'string' && /^[*?]+$/.test(value)
const claimName = text.refine((name) => name !== '__proto__', 'this word is reserved')

const claimRule = z.strictObject({
  claims: z
    .record(
      claimName,
      z.union([scalar.transform((value) => [value]), z.array(scalar).min(1).max(64)]),
    )
    .refine((claims) => Object.keys(claims).length > 0, 'name at least one claim')
    .refine(
      (claims) => !Object.values(claims).flat().some(onlyStars),
      'a value of "*" fits everything; leave the claim out',
    ),
  roles: z.array(handleName).min(1, 'name at least one role').max(64),
})

/**
 * Issuers that vouch for strangers: everybody with an account there. A rule must name who among them, by one of these claims and
 * far enough that a pattern in it cannot fit another owner.
 */
const OWNERS: Readonly<Record<string, Readonly<Record<string, RegExp>>>> = {
  'https://token.actions.githubusercontent.com': {
    sub: /^repo:[^*?/:]+\//,
    repository: /^[^*?/]+\//,
    repository_id: /^\d+$/,
    repository_owner: /^[^*?]+$/,
    repository_owner_id: /^\d+$/,
  },
  'https://gitlab.com': {
    sub: /^project_path:[^*?/:]+\//,
    project_path: /^[^*?/]+\//,
    project_id: /^\d+$/,
    namespace_path: /^[^*?/]+(\/|$)/,
    namespace_id: /^\d+$/,
  },
  'https://agent.buildkite.com': {
    sub: /^organization:[^*?:]+:/,
    organization_slug: /^[^*?]+$/,
    organization_id: /^[^*?]+$/,
  },
  'https://app.terraform.io': {
    sub: /^organization:[^*?:]+:/,
    terraform_organization_name: /^[^*?]+$/,
    terraform_organization_id: /^[^*?]+$/,
  },
  'https://accounts.google.com': { sub: /^\d+$/, email: /^[^*?]+$/, hd: /^[^*?]+$/ },
}

/** Why a rule for this issuer would let in strangers; undefined when it does not. */
function strangers(issuer: string, { claims }: z.output<typeof claimRule>): string | undefined {
  const owners = OWNERS[issuer.replace(/\/$/, '')]
  if (!owners) return undefined
  const names = Object.entries(owners)
  const named = names.some(([name, whole]) => {
    const wanted = Object.hasOwn(claims, name) ? claims[name] : undefined
    return wanted?.every((value) => whole.test(String(value)))
  })
  return named
    ? undefined
    : `everybody with an account there has such tokens: name the owner by one of ${names.map(([name]) => name).join(', ')}`
}

export const connectorResource = z.strictObject({
  kind: z.literal('oidc_connector'),
  version: z.literal('v1'),
  metadata: z.strictObject({
    name: handleName,
    description: z.string().max(1024).optional(),
  }),
  spec: z
    .strictObject({
      issuer: issuerUrl,
      /** Default: the cluster's name. */
      audience: audience.optional(),
      static_jwks: staticJwks.optional(),
      tls_ca: z
        .string()
        .max(16_384)
        .regex(/^-----BEGIN CERTIFICATE-----/, 'use a CA certificate in PEM')
        .optional(),
      claims_to_roles: z
        .array(claimRule)
        .min(1, 'name at least one rule')
        .max(LIMITS.connectorRules.value),
    })
    .superRefine(({ issuer, claims_to_roles: rules }, ctx) => {
      for (const [i, rule] of rules.entries()) {
        const message = strangers(issuer, rule)
        if (message !== undefined)
          ctx.addIssue({ code: 'custom', path: ['claims_to_roles', i, 'claims'], message })
      }
    }),
})

export const CONNECTOR_SUGGESTIONS = {
  issuer_url: 'use issuer',
  claim: 'use claims: {NAME: VALUE}; several must all fit',
  value: 'use claims: {NAME: VALUE}; several must all fit',
  client_id: 'use audience; signing people in through an issuer is not supported in this version',
  client_secret: 'remove it: no secret is shared with the issuer',
  redirect_url: 'signing people in through an issuer is not supported in this version; remove it',
} as const

export const toConnector = (
  { metadata, spec }: z.output<typeof connectorResource>,
  created: Instant,
): OidcConnector => ({
  name: metadata.name,
  description: metadata.description,
  issuer: spec.issuer,
  audience: spec.audience,
  jwks: spec.static_jwks,
  ca: spec.tls_ca,
  rules: spec.claims_to_roles,
  created,
})

function fits(wanted: Scalar, found: unknown): boolean {
  if (Array.isArray(found)) return found.some((one) => !Array.isArray(one) && fits(wanted, one))
  if (!['string', 'number', 'boolean'].includes(typeof found)) return false
  return typeof wanted === 'string'
    ? globMatches(wanted, String(found))
    : String(wanted) === String(found)
}

/** The roles that verified claims give, each once. Names of claims may hold dots themselves, else dots go inside. */
export function rolesOf(connector: OidcConnector, claims: Claims): string[] {
  const matching = connector.rules.filter((rule) =>
    Object.entries(rule.claims).every(([name, wanted]) => {
      // An address that the issuer says nobody proved is anybody's.
      if (name === 'email' && (claim(claims, 'email_verified') ?? true) !== true) return false
      const found = claim(claims, name) ?? at(claims, name.split('.'))
      return wanted.some((value) => fits(value, found))
    }),
  )
  return [...new Set(matching.flatMap((rule) => rule.roles))]
}

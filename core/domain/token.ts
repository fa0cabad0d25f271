/**
 * A join token: what a machine shows to become an agent. For method `token` the secret is made by the server, shown once
 * and kept only as a SHA-256; the name is a handle. For every other method the name is public and the evidence is what counts.
 */
import * as z from 'zod'
import { labelsFit } from '../certs/agent-labels.ts'
import { plus, type Clock, type Instant } from '../clock.ts'
import { duration } from '../duration.ts'
import { awsAllow, AWS_SUGGESTIONS, type AwsRule } from '../join/aws-rule.ts'
import {
  boundKeypairSpec,
  BOUND_KEYPAIR_SUGGESTIONS,
  type BoundKeypairRules,
} from '../join/bound-keypair-rule.ts'
import { tokenRules } from '../join/token-rules.ts'
import { LIMITS } from '../limits.ts'
import { BLOCKS } from '../join/blocks.ts'
import { BLOCK_METHODS, JOIN_METHODS, type JoinMethodName } from './join-method.ts'
import {
  handleName,
  joinedValues,
  labels,
  labelSelector,
  resourceName,
  type Labels,
  type LabelSelector,
} from './name.ts'
import { parseSystemRole, SYSTEM_ROLES, type SystemRole } from './service.ts'

/** Tokens of the other methods have a public name, and rules in place of a secret. */
export const hasSecret = (method: JoinMethodName): boolean => method === 'token'

export interface JoinToken {
  readonly name: string
  readonly method: JoinMethodName
  readonly roles: readonly SystemRole[]
  readonly created: Instant
  readonly expires: Instant
  /** Agents that may still be enrolled in all; undefined = any number until `expires`. */
  readonly maxUses: number | undefined
  readonly uses: number
  readonly labels: Labels
  readonly description: string | undefined
  /** Labels of its agents for keys that they do not label themselves; several values are one, with spaces between. */
  readonly suggestedLabels: LabelSelector
  /** Labels every agent of this token carries, stronger than the agent's own. */
  readonly forcedLabels: Labels
  /** When set, the only resource names that agents of this token may claim. */
  readonly allowedNames: readonly string[] | undefined
  /** The fields of `spec` that belong to the method, as they were given; undefined for methods that have none. */
  readonly methodSpec: Readonly<Record<string, unknown>> | undefined
  /** Several agents of such tokens may announce the same app, database or cluster name. */
  readonly sharedNames: boolean
  /** Of methods `iam` and `ec2`. `iidTtl`: how old an instance identity document may be, ms since its instance started. */
  readonly aws?: { readonly allow: readonly AwsRule[]; readonly iidTtl: number } | undefined
  readonly boundKeypair?: BoundKeypairRules | undefined
}

export type TokenState = 'active' | 'expired' | 'used up'
export function tokenState(token: JoinToken, now: Instant): TokenState {
  if (now >= token.expires) return 'expired'
  return token.maxUses !== undefined && token.uses >= token.maxUses ? 'used up' : 'active'
}

const systemRole = z.string().transform((word, ctx): SystemRole => {
  const role = parseSystemRole(word)
  if (role) return role
  ctx.addIssue({ code: 'custom', message: `unknown role; use one of ${SYSTEM_ROLES.join(', ')}` })
  return z.NEVER
})
const roles = z
  .array(systemRole)
  .min(1, 'name at least one role')
  .refine((list) => new Set(list).size === list.length, 'a role is named twice')
const maxUses = z.int().min(1).max(LIMITS.tokenUsesMax.value).nullable()
/** Words of other token files that are no join method here. */
const METHOD_HINTS: Readonly<Record<string, string>> = {
  terraform: 'use terraform_cloud, with its rules in a block of that name',
  generic_oidc: 'this join method needs its rules, in a block of that name',
  env0: 'not in this version; its id tokens join by oidc, with its issuer and conditions',
  oracle: 'not in this version; use tpm, or bound_keypair',
}
const joinMethod = z.enum(JOIN_METHODS, {
  error: ({ input }) =>
    (typeof input === 'string' && Object.hasOwn(METHOD_HINTS, input)
      ? METHOD_HINTS[input]
      : undefined) ?? `use one of the join methods: ${JOIN_METHODS.join(', ')}`,
})

/** The blocks of join methods in a token's spec. */
function methodFields(spec: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const given = BLOCK_METHODS.filter((name) => spec[name] !== undefined)
  return Object.fromEntries(given.map((name) => [name, spec[name]]))
}

/** The resource file (contract, section 2). `metadata.name` is made by the server when absent. */
export const tokenResource = z.strictObject({
  kind: z.literal('token'),
  version: z.literal('v2'),
  metadata: z.strictObject({
    name: handleName.optional(),
    expires: z.iso.datetime({ offset: true }).optional(),
    labels: labels.optional(),
    description: z.string().max(1024).optional(),
  }),
  spec: z
    .strictObject({
      roles,
      /** Default `token`; with `allow` rules it is `ec2`, as such files have always meant. */
      join_method: joinMethod.optional(),
      max_uses: maxUses.optional(),
      suggested_labels: labelSelector.optional(),
      /** Read and without effect: it fills in the file of an install script there, and agents list their apps themselves here. */
      suggested_agent_matcher_labels: labelSelector.optional(),
      forced_labels: labels.optional(),
      allowed_names: z.array(resourceName).min(1).max(500).optional(),
      shared_names: z.boolean().optional(),
      allow: awsAllow.optional(),
      aws_iid_ttl: duration.optional(),
      bound_keypair: boundKeypairSpec.optional(),
      ...BLOCKS,
    })
    .superRefine((spec, ctx) => {
      const labelling = {
        forced: spec.forced_labels ?? {},
        suggested: joinedValues(spec.suggested_labels ?? {}),
      }
      for (const [key, value] of Object.entries(labelling.suggested))
        if (value.length > LIMITS.labelValue.value)
          ctx.addIssue({
            code: 'custom',
            path: ['suggested_labels', key],
            message: `its values together are longer than ${LIMITS.labelValue.value} characters`,
          })
      if (!labelsFit(labelling))
        ctx.addIssue({
          code: 'custom',
          path: ['forced_labels'],
          message: `forced and suggested labels together at most ${LIMITS.tokenLabels.value} bytes`,
        })
      const given = methodFields(spec)
      for (const method of BLOCK_METHODS) {
        const wrong = (message: string): void =>
          ctx.addIssue({ code: 'custom', path: [method], message })
        if (method === spec.join_method) {
          if (given[method] === undefined) wrong('this join method needs its rules')
        } else if (given[method] !== undefined) wrong(`belongs to join_method: ${method}`)
      }
    }),
})

/** The short form: `{"roles":["Node"],"ttl":"30m","max_uses":1}`. */
export const tokenShort = z.strictObject({
  name: handleName.optional(),
  roles,
  ttl: duration.optional(),
  max_uses: maxUses.optional(),
  join_method: joinMethod
    .refine(
      (method) => hasSecret(method) || method === 'bound_keypair',
      'this join method needs rules: give a whole resource file',
    )
    .optional(),
  labels: labels.optional(),
  description: z.string().max(1024).optional(),
})

export const TOKEN_SUGGESTIONS = {
  bot_name: 'bots are not supported; use a Node or App token',
  integration: 'organizations of AWS are not looked up in this version; name each aws_account',
  terraform: 'use terraform_cloud',
  env0: 'not in this version; its id tokens join by oidc, with its issuer and conditions',
  oracle: 'not in this version; use tpm, or bound_keypair',
  ...AWS_SUGGESTIONS,
  ...BOUND_KEYPAIR_SUGGESTIONS,
} as const

type TokenInput =
  | { readonly form: 'resource'; readonly value: z.output<typeof tokenResource> }
  | { readonly form: 'short'; readonly value: z.output<typeof tokenShort> }

/**
 * A new token from either form. With a secret, the lifetime defaults to 30 minutes and uses to one; without, it is configuration
 * more than a key: the longest life and any number of uses.
 */
export function newToken(input: TokenInput, made: { name: string; clock: Clock }): JoinToken {
  const now = made.clock.now()
  const spec = input.form === 'resource' ? input.value.spec : input.value
  const meta = input.form === 'resource' ? input.value.metadata : input.value
  const asked =
    input.form === 'short'
      ? input.value.ttl === undefined
        ? undefined
        : plus(now, input.value.ttl)
      : input.value.metadata.expires === undefined
        ? undefined
        : (Date.parse(input.value.metadata.expires) as Instant)
  const resource = input.form === 'resource' ? input.value.spec : undefined
  const method = spec.join_method ?? (resource?.allow ? 'ec2' : 'token')
  const secret = hasSecret(method)
  const life = secret ? LIMITS.tokenTtlDefault.value : LIMITS.tokenTtlMax.value
  return {
    name: meta.name ?? made.name,
    method,
    roles: spec.roles,
    created: now,
    expires: asked ?? plus(now, life),
    maxUses: spec.max_uses === undefined && secret ? 1 : (spec.max_uses ?? undefined),
    uses: 0,
    labels: meta.labels ?? {},
    description: meta.description,
    suggestedLabels: resource?.suggested_labels ?? {},
    forcedLabels: resource?.forced_labels ?? {},
    allowedNames: resource?.allowed_names,
    sharedNames: resource?.shared_names ?? false,
    methodSpec: resource && !secret ? methodFields(resource) : undefined,
    ...tokenRules(method, resource ?? {}),
  }
}

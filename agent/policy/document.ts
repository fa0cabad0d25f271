/**
 * The shapes of the signed policy and its freshness stamp. The signature says who wrote them; the schema keeps a document of
 * another version from being half understood. Fields added later are left alone.
 */
import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import * as z from 'zod'
import { jwsVerify, untrustedJwsHeader } from '../../core/certs/jws.ts'
import { freshness, type Freshness, type Policy } from '../../core/domain/policy.ts'
import { SERVICE_KINDS } from '../../core/domain/service.ts'
import { RULE_KINDS, RULE_VERBS } from '../../core/domain/role.ts'
import { FRESHNESS_TYP, POLICY_TYP } from '../../core/api/policy.ts'
import { instant } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { parseId, type LockId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'

const selector = z.record(z.string(), z.array(z.string())).optional()
const side = z.object({
  logins: z.array(z.string()),
  nodeLabels: selector,
  appLabels: selector,
  rules: z.array(
    z.object({
      resources: z.array(z.enum([...RULE_KINDS, '*'])),
      verbs: z.array(z.enum([...RULE_VERBS, '*'])),
    }),
  ),
})
const role = z.object({
  name: z.string(),
  allow: side,
  deny: side,
  options: z.object({
    maxSessionTtl: z.number().optional(),
    forwardAgent: z.boolean(),
    localForwarding: z.boolean(),
    remoteForwarding: z.boolean(),
    fileCopy: z.boolean(),
    idleTimeout: z.number().optional(),
    maxSessions: z.number().optional(),
    lock: z.enum(['strict', 'best_effort']),
  }),
})
const agentId = z.string().transform((text, ctx) => {
  const id = parseId('agent', text)
  if (id) return id
  ctx.addIssue({ code: 'custom', message: 'not an agent id' })
  return z.NEVER
})
const when = z.number().transform(instant)
const lock = z.object({
  id: z.string().transform((text) => text as LockId),
  target: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('user'), user: z.string() }),
    z.object({ kind: z.literal('agent'), agent: agentId }),
    z.object({ kind: z.literal('role'), role: z.string() }),
    z.object({ kind: z.literal('service'), agent: agentId, service: z.enum(SERVICE_KINDS) }),
    z.object({
      kind: z.literal('token'),
      token: z.string(),
      agents: z.array(agentId).exactOptional(),
    }),
  ]),
  message: z.string().optional(),
  created: when,
  createdBy: z.string(),
  expires: when.optional(),
})
const ca = z.object({ x509: z.array(z.string()), ssh: z.array(z.string()) })
const jwk = z.looseObject({ kty: z.string() })
const policy = z.object({
  cluster: z.string(),
  version: z.int(),
  issued: z.int(),
  expires: z.int(),
  roles: z.array(role),
  users: z.record(z.string(), z.array(z.string())),
  locks: z.array(lock),
  cas: z.object({ host: ca, user: ca, policy: z.array(jwk).min(1) }),
  caVersion: z.int().exactOptional(),
  retired: z.array(z.string()).exactOptional(),
  renewBy: z.int().exactOptional(),
})

/** JSON has no undefined: absent fields become the undefined ones that the domain types name. */
function domain(parsed: z.output<typeof policy>): Policy {
  type Side = z.output<typeof side>
  const rules = (s: Side) => ({ ...s, nodeLabels: s.nodeLabels, appLabels: s.appLabels })
  return {
    ...parsed,
    roles: parsed.roles.map((r) => ({
      ...r,
      allow: rules(r.allow),
      deny: rules(r.deny),
      options: {
        ...r.options,
        maxSessionTtl: r.options.maxSessionTtl,
        idleTimeout: r.options.idleTimeout,
        maxSessions: r.options.maxSessions,
      },
    })),
    locks: parsed.locks.map((l) => ({ ...l, message: l.message, expires: l.expires })),
    cas: parsed.cas,
  }
}

export type SignedObject =
  | { readonly kind: 'policy'; readonly policy: Policy; readonly digest: string }
  | { readonly kind: 'freshness'; readonly stamp: Freshness }

/** The base64url and the signature of the largest document. */
export const POLICY_TOKEN_MAX = Math.ceil((LIMITS.policySize.value * 4) / 3) + 4096
const STAMP_MAX = 4096

export const policyKey = (key: Readonly<Record<string, unknown>>): KeyObject =>
  createPublicKey({ key, format: 'jwk' })

/** Checks a token of the policy key, whichever of the two it is. Throws ERR_PROOF_INVALID. */
export async function openSigned(token: string, keys: readonly KeyObject[]): Promise<SignedObject> {
  const typ = untrustedJwsHeader(token, POLICY_TOKEN_MAX)['typ']
  const stamp = typ === FRESHNESS_TYP
  const { payload } = await jwsVerify(token, {
    keys,
    algorithms: ['ES256', 'EdDSA'],
    typ: stamp ? FRESHNESS_TYP : POLICY_TYP,
    maxBytes: stamp ? STAMP_MAX : POLICY_TOKEN_MAX,
  })
  const wrong = (cause: unknown): AppError =>
    new AppError('ERR_PROOF_INVALID', undefined, { internal: 'policy: another shape', cause })
  if (stamp) {
    const parsed = freshness.safeParse(payload)
    if (!parsed.success) throw wrong(parsed.error)
    return { kind: 'freshness', stamp: parsed.data }
  }
  const parsed = policy.safeParse(payload)
  if (!parsed.success) throw wrong(parsed.error)
  const bytes = Buffer.from(token.split('.')[1] ?? '', 'base64url')
  const digest = createHash('sha256').update(bytes).digest('base64url')
  return { kind: 'policy', policy: domain(parsed.data), digest }
}

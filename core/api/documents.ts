/**
 * Resources as the API answers them: the shape of a resource file (contract, section 2), and a `status` that the server fills
 * in. Lists are `{items, cursor?}`; a page may be empty and still have a cursor.
 */
import * as z from 'zod'
import { awsAllow } from '../join/aws-rule.ts'
import { boundKeypairDocument } from '../join/bound-keypair-rule.ts'
import { IDENTITY_KINDS, SYSTEM_ROLES } from '../domain/service.ts'

const labels = z.record(z.string(), z.string())
const when = z.iso.datetime()

/** Status: `state` by the server's clock; `uses` counts agents. */
export const tokenDocument = z.object({
  kind: z.literal('token'),
  version: z.literal('v2'),
  metadata: z.object({
    name: z.string(),
    expires: when,
    labels: labels.optional(),
    description: z.string().optional(),
  }),
  /** Besides these, the block of the join method as it was given. */
  spec: z.looseObject({
    roles: z.array(z.enum(SYSTEM_ROLES)),
    join_method: z.string(),
    /** null = any number until it expires. */
    max_uses: z.int().nullable(),
    suggested_labels: z.record(z.string(), z.array(z.string())).optional(),
    forced_labels: labels.optional(),
    allowed_names: z.array(z.string()).optional(),
    shared_names: z.boolean().optional(),
    allow: awsAllow.optional(),
    aws_iid_ttl: z.string().optional(),
    bound_keypair: boundKeypairDocument.optional(),
  }),
  status: z.object({
    state: z.enum(['active', 'expired', 'used up']),
    uses: z.int(),
    created: when,
  }),
})
export type TokenDocument = z.output<typeof tokenDocument>

/** `POST /v1/tokens`, 201. The only time that a secret is shown; tokens of methods without one are used by their name. */
export const tokenCreated = z.object({
  name: z.string(),
  /** Of method `token`. */
  secret: z.string().optional(),
  /** Of method `bound_keypair`, when the server made it. */
  registration_secret: z.string().optional(),
  expires: when,
  roles: z.array(z.enum(SYSTEM_ROLES)),
  join_method: z.string(),
  max_uses: z.int().nullable(),
  ca_pins: z.array(z.string()),
})
/** Of the methods that have a secret. */
export const secretCreated = tokenCreated.required({ secret: true })
export type TokenCreated = z.output<typeof tokenCreated>
export type SecretCreated = z.output<typeof secretCreated>

const rule = z.object({ resources: z.array(z.string()), verbs: z.array(z.string()) })
const selector = z.record(z.string(), z.array(z.string()))
const roleSide = z.object({
  logins: z.array(z.string()).optional(),
  node_labels: selector.optional(),
  app_labels: selector.optional(),
  rules: z.array(rule).optional(),
})
/** A role file that creates the same role again. */
export const roleDocument = z.object({
  kind: z.literal('role'),
  version: z.literal('v7'),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    allow: roleSide,
    deny: roleSide,
    options: z.object({
      max_session_ttl: z.string().optional(),
      forward_agent: z.boolean(),
      ssh_port_forwarding: z.object({
        local: z.object({ enabled: z.boolean() }),
        remote: z.object({ enabled: z.boolean() }),
      }),
      ssh_file_copy: z.boolean(),
      client_idle_timeout: z.string().optional(),
      max_sessions: z.int().optional(),
      lock: z.enum(['strict', 'best_effort']),
    }),
  }),
})
export type RoleDocument = z.output<typeof roleDocument>

export const userDocument = z.object({
  kind: z.literal('user'),
  version: z.literal('v2'),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    roles: z.array(z.string()),
    traits: z.record(z.string(), z.array(z.string())),
  }),
  status: z.object({ created: when }),
})
export type UserDocument = z.output<typeof userDocument>

/** `POST /v1/agents/self/leave`: whoever signs it says which service. */
export const leaveRequest = z.strictObject({})
export const left = z.object({ removed: z.boolean() })

export const lockDocument = z.object({
  kind: z.literal('lock'),
  version: z.literal('v2'),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    target: z.object({
      user: z.string().optional(),
      agent: z.string().optional(),
      role: z.string().optional(),
      /** `ag_…/ssh`. */
      service: z.string().optional(),
      token: z.string().optional(),
    }),
    message: z.string().optional(),
    expires: when.optional(),
  }),
  status: z.object({ created: when, created_by: z.string() }),
})
export type LockDocument = z.output<typeof lockDocument>

/** `metadata.name` is the key's id; `spec.name` what people call it. */
export const keyDocument = z.object({
  kind: z.literal('key'),
  version: z.literal('v1'),
  metadata: z.object({ name: z.string(), expires: when.optional() }),
  spec: z.object({ name: z.string(), owner: z.string(), scopes: z.array(rule) }),
  status: z.object({ created: when }),
})
export type KeyDocument = z.output<typeof keyDocument>

/** `POST /v1/keys`, 201. The only time that the secret is shown. */
export const keyCreated = z.object({
  id: z.string(),
  name: z.string(),
  secret: z.string(),
  owner: z.string(),
  scopes: z.array(rule),
  expires: when,
})
export type KeyCreated = z.output<typeof keyCreated>

/** A connector file that creates the same connector again. */
export const connectorDocument = z.object({
  kind: z.literal('oidc_connector'),
  version: z.literal('v1'),
  metadata: z.object({ name: z.string(), description: z.string().optional() }),
  spec: z.object({
    issuer: z.string(),
    audience: z.string().optional(),
    static_jwks: z.string().optional(),
    tls_ca: z.string().optional(),
    claims_to_roles: z.array(
      z.object({
        claims: z.record(z.string(), z.array(z.union([z.string(), z.number(), z.boolean()]))),
        roles: z.array(z.string()),
      }),
    ),
  }),
  status: z.object({ created: when }),
})
export type ConnectorDocument = z.output<typeof connectorDocument>

const presence = z.object({
  online: z.boolean(),
  /** Absent = never connected. */
  last_seen: when.optional(),
})
export const nodeDocument = z.object({
  kind: z.literal('node'),
  version: z.literal('v2'),
  metadata: z.object({ name: z.string(), labels }),
  spec: z.object({ hostname: z.string(), agent_id: z.string() }),
  status: presence,
})
export type NodeDocument = z.output<typeof nodeDocument>

/** One for each agent that serves the app. */
export const appDocument = z.object({
  kind: z.literal('app'),
  version: z.literal('v3'),
  metadata: z.object({ name: z.string(), labels }),
  spec: z.object({ protocol: z.enum(['tcp', 'http']), agent_id: z.string() }),
  status: presence,
})
export type AppDocument = z.output<typeof appDocument>

/** `metadata.name` is the agent id. */
export const agentDocument = z.object({
  kind: z.literal('agent'),
  version: z.literal('v1'),
  metadata: z.object({ name: z.string() }),
  spec: z.object({ node_name: z.string(), token: z.string(), forced_labels: labels }),
  status: presence.extend({
    created: when,
    services: z.array(
      z.object({ service: z.enum(IDENTITY_KINDS), generation: z.int(), expires: when }),
    ),
  }),
})
export type AgentDocument = z.output<typeof agentDocument>

/** `GET /v1/events`, newest first. */
export const eventDocument = z.object({
  id: z.string(),
  time: when,
  type: z.string(),
  outcome: z.enum(['ok', 'refused', 'failed']),
  actor: z.string(),
  resource: z.string().optional(),
  session: z.string().optional(),
  reason: z.string().optional(),
  fields: z.record(z.string(), z.unknown()),
})
export type EventDocument = z.output<typeof eventDocument>

export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), cursor: z.string().optional() })
export interface PageAnswer<T> {
  readonly items: readonly T[]
  readonly cursor?: string
}

/** `POST /v1/agents/self/events`. */
export const eventsAccepted = z.object({ accepted: z.int() })
/** `POST /v1/agents/self/resources`: whether anything was written. */
export const announced = z.object({ changed: z.boolean() })

/**
 * A role: what its holders may reach. Accepts Teleport's role files (v3 to v8) where we have the feature; a field that we
 * lack is refused by path, because a rule that is silently ignored is a hole.
 */
import * as z from 'zod'
import { duration } from '../duration.ts'
import { handleName, labels, labelSelector, unixLogin, type LabelSelector } from './name.ts'

/** Kinds and verbs of the API that `rules` grant (operators' rights, not access to resources). */
export const RULE_KINDS = [
  'token',
  'role',
  'user',
  'lock',
  'node',
  'app',
  'event',
  'agent',
  'key',
  'oidc_connector',
  'ca',
] as const
export type RuleKind = (typeof RULE_KINDS)[number]
export const RULE_VERBS = ['list', 'read', 'create', 'update', 'delete'] as const
export type RuleVerb = (typeof RULE_VERBS)[number]
export interface ApiRule {
  readonly resources: readonly (RuleKind | '*')[]
  readonly verbs: readonly (RuleVerb | '*')[]
}

/** One side of a role. An absent selector matches nothing; on the deny side an absent field denies nothing. */
export interface RoleRules {
  /** Unix logins; `{{internal.logins}}` and `{{external.<trait>}}` are filled from the user's traits. */
  readonly logins: readonly string[]
  readonly nodeLabels: LabelSelector | undefined
  readonly appLabels: LabelSelector | undefined
  readonly rules: readonly ApiRule[]
}

export interface RoleOptions {
  /** Longest user certificate, ms; undefined = the system's limit. */
  readonly maxSessionTtl: number | undefined
  readonly forwardAgent: boolean
  readonly localForwarding: boolean
  readonly remoteForwarding: boolean
  readonly fileCopy: boolean
  /** Ends a session without input or output for this long, ms. */
  readonly idleTimeout: number | undefined
  /** SSH session channels of one connection. */
  readonly maxSessions: number | undefined
  /** What to do when the view of locks is older than five minutes. */
  readonly lock: 'strict' | 'best_effort'
}

export interface Role {
  readonly name: string
  readonly allow: RoleRules
  readonly deny: RoleRules
  readonly options: RoleOptions
}

const template = z.string().regex(/^\{\{\s*(internal|external)\.[A-Za-z0-9_.:/-]{1,128}\s*\}\}$/)
const login = z.union([unixLogin, template, z.literal('*')], {
  error: 'use a unix user name, {{internal.logins}} or {{external.<trait>}}',
})
const allowLogin = z.union([unixLogin, template], {
  error: 'use a unix user name, {{internal.logins}} or {{external.<trait>}}; "*" is for deny only',
})
/** What may be done with which kinds of the API; `*` is every one. */
export const apiRule = z.strictObject({
  resources: z.array(z.enum([...RULE_KINDS, '*'])).min(1),
  verbs: z.array(z.enum([...RULE_VERBS, '*'])).min(1),
})
const side = <L extends z.ZodType<string>>(loginField: L) =>
  z.strictObject({
    logins: z.array(loginField).max(64).optional(),
    node_labels: labelSelector.optional(),
    app_labels: labelSelector.optional(),
    rules: z.array(apiRule).max(64).optional(),
  })

const toggle = z.strictObject({ enabled: z.boolean() })

export const roleResource = z.strictObject({
  kind: z.literal('role'),
  version: z.enum(['v3', 'v4', 'v5', 'v6', 'v7', 'v8']),
  metadata: z.strictObject({
    name: handleName,
    description: z.string().max(1024).optional(),
    labels: labels.optional(),
  }),
  spec: z.strictObject({
    allow: side(allowLogin).optional(),
    deny: side(login).optional(),
    options: z
      .strictObject({
        max_session_ttl: duration.optional(),
        forward_agent: z.boolean().optional(),
        port_forwarding: z.boolean().optional(),
        ssh_port_forwarding: z
          .strictObject({ local: toggle.optional(), remote: toggle.optional() })
          .optional(),
        ssh_file_copy: z.boolean().optional(),
        client_idle_timeout: duration.optional(),
        max_sessions: z.int().min(1).max(1000).optional(),
        lock: z.enum(['strict', 'best_effort']).optional(),
      })
      .optional(),
  }),
})

const LATER = 'is not supported in this version'
export const ROLE_SUGGESTIONS = {
  db_labels: `database access ${LATER}; remove it`,
  db_users: `database access ${LATER}; remove it`,
  db_names: `database access ${LATER}; remove it`,
  kubernetes_labels: `Kubernetes access ${LATER}; remove it`,
  kubernetes_groups: `Kubernetes access ${LATER}; remove it`,
  kubernetes_users: `Kubernetes access ${LATER}; remove it`,
  kubernetes_resources: `Kubernetes access ${LATER}; remove it`,
  node_labels_expression: `label expressions ${LATER}; use node_labels`,
  app_labels_expression: `label expressions ${LATER}; use app_labels`,
  require_session_mfa: `per-session MFA ${LATER}; remove it`,
  record_session: `session recording ${LATER}; remove it`,
  permit_x11_forwarding: `X11 forwarding ${LATER}; remove it`,
  create_host_user_mode: `creating host users ${LATER}; create the users on the host`,
  request: `access requests ${LATER}; remove it`,
  impersonate: `impersonation ${LATER}; remove it`,
  max_connections: 'use options.max_sessions',
  disconnect_expired_cert: 'sessions always end when the certificate expires; remove it',
  port_forwarding: 'use options.port_forwarding or options.ssh_port_forwarding',
} as const

type Side = NonNullable<z.output<typeof roleResource>['spec']['allow']>
const rulesOf = (given: Side | undefined): RoleRules => ({
  logins: (given?.logins ?? []).map((text) => text.replaceAll(/\s/g, '')),
  nodeLabels: given?.node_labels,
  appLabels: given?.app_labels,
  rules: given?.rules ?? [],
})

export function toRole(resource: z.output<typeof roleResource>): Role {
  const { allow, deny, options: o } = resource.spec
  return {
    name: resource.metadata.name,
    allow: rulesOf(allow),
    deny: rulesOf(deny),
    options: {
      maxSessionTtl: o?.max_session_ttl,
      forwardAgent: o?.forward_agent ?? false,
      localForwarding: o?.ssh_port_forwarding?.local?.enabled ?? o?.port_forwarding ?? true,
      remoteForwarding: o?.ssh_port_forwarding?.remote?.enabled ?? o?.port_forwarding ?? true,
      fileCopy: o?.ssh_file_copy ?? true,
      idleTimeout: o?.client_idle_timeout,
      maxSessions: o?.max_sessions,
      lock: o?.lock ?? 'best_effort',
    },
  }
}

/** From domain values to the resource documents that the API answers (core/api/documents.ts). Secrets have no way in here. */
import type {
  AgentDocument,
  AppDocument,
  ConnectorDocument,
  EventDocument,
  KeyDocument,
  LockDocument,
  NodeDocument,
  RoleDocument,
  TokenDocument,
  UserDocument,
} from '../core/api/documents.ts'
import { iso, type Instant } from '../core/clock.ts'
import { formatDuration } from '../core/duration.ts'
import type { Agent, ServiceIdentity } from '../core/domain/agent.ts'
import type { ApiKey } from '../core/domain/api-key.ts'
import type { AuditEvent } from '../core/domain/event.ts'
import type { Lock, LockTarget } from '../core/domain/lock.ts'
import type { LabelSelector } from '../core/domain/name.ts'
import type { ListedResource } from '../core/domain/resource.ts'
import type { OidcConnector } from '../core/domain/oidc-connector.ts'
import type { ApiRule, Role, RoleRules } from '../core/domain/role.ts'
import { awsAllowOf } from '../core/join/aws-rule.ts'
import { boundKeypairOf } from '../core/join/bound-keypair-rule.ts'
import { tokenState, type JoinToken } from '../core/domain/token.ts'
import type { User } from '../core/domain/user.ts'

const selectorOf = (selector: LabelSelector): Record<string, string[]> =>
  Object.fromEntries(Object.entries(selector).map(([key, values]) => [key, [...values]]))
const some = (record: object): boolean => Object.keys(record).length > 0

export function tokenDocumentOf(token: JoinToken, now: Instant): TokenDocument {
  return {
    kind: 'token',
    version: 'v2',
    metadata: {
      name: token.name,
      expires: iso(token.expires),
      ...(some(token.labels) ? { labels: token.labels } : {}),
      ...(token.description === undefined ? {} : { description: token.description }),
    },
    spec: {
      roles: [...token.roles],
      join_method: token.method,
      max_uses: token.maxUses ?? null,
      ...token.methodSpec,
      ...(some(token.suggestedLabels)
        ? { suggested_labels: selectorOf(token.suggestedLabels) }
        : {}),
      ...(some(token.forcedLabels) ? { forced_labels: token.forcedLabels } : {}),
      ...(token.allowedNames ? { allowed_names: [...token.allowedNames] } : {}),
      ...(token.sharedNames ? { shared_names: true } : {}),
      ...(token.aws ? { allow: awsAllowOf(token.aws.allow) } : {}),
      ...(token.aws && token.method === 'ec2'
        ? { aws_iid_ttl: formatDuration(token.aws.iidTtl) }
        : {}),
      ...(token.boundKeypair ? { bound_keypair: boundKeypairOf(token.boundKeypair) } : {}),
    },
    status: { state: tokenState(token, now), uses: token.uses, created: iso(token.created) },
  }
}

export const rulesOf = (rules: readonly ApiRule[]): { resources: string[]; verbs: string[] }[] =>
  rules.map((rule) => ({ resources: [...rule.resources], verbs: [...rule.verbs] }))
const sideOf = (rules: RoleRules): RoleDocument['spec']['allow'] => ({
  ...(rules.logins.length > 0 ? { logins: [...rules.logins] } : {}),
  ...(rules.nodeLabels ? { node_labels: selectorOf(rules.nodeLabels) } : {}),
  ...(rules.appLabels ? { app_labels: selectorOf(rules.appLabels) } : {}),
  ...(rules.rules.length > 0 ? { rules: rulesOf(rules.rules) } : {}),
})

export function roleDocumentOf({ name, allow, deny, options: o }: Role): RoleDocument {
  return {
    kind: 'role',
    version: 'v7',
    metadata: { name },
    spec: {
      allow: sideOf(allow),
      deny: sideOf(deny),
      options: {
        ...(o.maxSessionTtl === undefined
          ? {}
          : { max_session_ttl: formatDuration(o.maxSessionTtl) }),
        forward_agent: o.forwardAgent,
        ssh_port_forwarding: {
          local: { enabled: o.localForwarding },
          remote: { enabled: o.remoteForwarding },
        },
        ssh_file_copy: o.fileCopy,
        ...(o.idleTimeout === undefined
          ? {}
          : { client_idle_timeout: formatDuration(o.idleTimeout) }),
        ...(o.maxSessions === undefined ? {} : { max_sessions: o.maxSessions }),
        lock: o.lock,
      },
    },
  }
}

export function userDocumentOf(user: User): UserDocument {
  return {
    kind: 'user',
    version: 'v2',
    metadata: { name: user.name },
    spec: { roles: [...user.roles], traits: selectorOf(user.traits) },
    status: { created: iso(user.created) },
  }
}

function targetOf(target: LockTarget): LockDocument['spec']['target'] {
  switch (target.kind) {
    case 'user':
      return { user: target.user }
    case 'agent':
      return { agent: target.agent }
    case 'role':
      return { role: target.role }
    case 'service':
      return { service: `${target.agent}/${target.service}` }
    case 'token':
      return { token: target.token }
  }
}

/** `user/ann`: how the audit log names what a lock strikes. */
export function lockTargetName(target: LockTarget): string {
  const [kind, name] = Object.entries(targetOf(target))[0] ?? ['', '']
  return `${kind}/${name}`
}

export function lockDocumentOf(lock: Lock): LockDocument {
  return {
    kind: 'lock',
    version: 'v2',
    metadata: { name: lock.id },
    spec: {
      target: targetOf(lock.target),
      ...(lock.message === undefined ? {} : { message: lock.message }),
      ...(lock.expires === undefined ? {} : { expires: iso(lock.expires) }),
    },
    status: { created: iso(lock.created), created_by: lock.createdBy },
  }
}

export function keyDocumentOf(key: ApiKey): KeyDocument {
  const { id, name, owner, scopes, created, expires } = key
  return {
    kind: 'key',
    version: 'v1',
    metadata: { name: id, ...(expires === undefined ? {} : { expires: iso(expires) }) },
    spec: { name, owner, scopes: rulesOf(scopes) },
    status: { created: iso(created) },
  }
}

export function connectorDocumentOf(c: OidcConnector): ConnectorDocument {
  return {
    kind: 'oidc_connector',
    version: 'v1',
    metadata: {
      name: c.name,
      ...(c.description === undefined ? {} : { description: c.description }),
    },
    spec: {
      issuer: c.issuer,
      ...(c.audience === undefined ? {} : { audience: c.audience }),
      ...(c.jwks === undefined ? {} : { static_jwks: c.jwks }),
      ...(c.ca === undefined ? {} : { tls_ca: c.ca }),
      claims_to_roles: c.rules.map(({ claims, roles }) => ({
        claims: Object.fromEntries(Object.entries(claims).map(([k, values]) => [k, [...values]])),
        roles: [...roles],
      })),
    },
    status: { created: iso(c.created) },
  }
}

const statusOf = (
  online: boolean,
  lastSeen: Instant | undefined,
): { online: boolean; last_seen?: string } => ({
  online,
  ...(lastSeen === undefined ? {} : { last_seen: iso(lastSeen) }),
})

/** Undefined for kinds that no service of this version announces. */
export function resourceDocumentOf(r: ListedResource): NodeDocument | AppDocument | undefined {
  const metadata = { name: r.name, labels: r.labels }
  const status = statusOf(r.online, r.lastSeen)
  switch (r.kind) {
    case 'node':
      return {
        kind: 'node',
        version: 'v2',
        metadata,
        spec: { hostname: r.hostname ?? r.name, agent_id: r.agentId },
        status,
      }
    case 'app':
      return {
        kind: 'app',
        version: 'v3',
        metadata,
        spec: { protocol: r.protocol ?? 'tcp', agent_id: r.agentId },
        status,
      }
    case 'db':
    case 'kube_cluster':
      return undefined
  }
}

export function agentDocumentOf(
  agent: Agent,
  seen: {
    readonly identities: readonly ServiceIdentity[]
    readonly online: boolean
    readonly lastSeen: Instant | undefined
  },
): AgentDocument {
  return {
    kind: 'agent',
    version: 'v1',
    metadata: { name: agent.id },
    spec: { node_name: agent.nodeName, token: agent.tokenName, forced_labels: agent.forcedLabels },
    status: {
      ...statusOf(seen.online, seen.lastSeen),
      created: iso(agent.created),
      services: seen.identities.map((identity) => ({
        service: identity.service,
        generation: identity.generation,
        expires: iso(identity.expires),
      })),
    },
  }
}

export function eventDocumentOf(event: AuditEvent): EventDocument {
  return {
    id: event.id,
    time: iso(event.time),
    type: event.type,
    outcome: event.outcome,
    actor: event.actor,
    ...(event.resource === undefined ? {} : { resource: event.resource }),
    ...(event.session === undefined ? {} : { session: event.session }),
    ...(event.reason === undefined ? {} : { reason: event.reason }),
    fields: event.fields,
  }
}

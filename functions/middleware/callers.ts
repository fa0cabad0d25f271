/** Kinds of callers, by what proves them, and what each is called in the audit log. */
import type { AgentIdentity, ProxyIdentity, UserIdentity } from '../../core/certs/identity.ts'
import type { ApiKey } from '../../core/domain/api-key.ts'
import type { EventField } from '../../core/domain/event.ts'
import type { Lock } from '../../core/domain/lock.ts'
import type { Role } from '../../core/domain/role.ts'
import type { User } from '../../core/domain/user.ts'
import type { Instant } from '../../core/clock.ts'

/** An API key. */
export interface OperatorCaller {
  readonly kind: 'operator'
  readonly key: ApiKey
  /** Those that its owner holds now: the key does nothing that its owner may not. */
  readonly roles: readonly Role[]
}
/** The bearer of an id token of a configured issuer. */
export interface WorkloadCaller {
  readonly kind: 'workload'
  readonly connector: string
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly Role[]
  readonly expires: Instant
}
export interface UserCaller {
  readonly kind: 'user'
  readonly identity: UserIdentity
  /** As the table has the user now. */
  readonly user: User
  /** Roles in the certificate that the user still holds. */
  readonly roles: readonly Role[]
  readonly locks: readonly Lock[]
}
export interface AgentCaller {
  readonly kind: 'agent'
  readonly identity: AgentIdentity
}
export interface ProxyCaller {
  readonly kind: 'proxy'
  readonly identity: ProxyIdentity
}
export type Caller = OperatorCaller | WorkloadCaller | UserCaller | AgentCaller | ProxyCaller

/** Who it is, in one text that no other caller has: the owner of idempotency keys, and whose rate is counted. */
export function principalOf(caller: Caller): string {
  switch (caller.kind) {
    case 'operator':
      return `key/${caller.key.id}`
    case 'workload':
      return `oidc/${caller.connector}/${caller.issuer} ${caller.subject}`
    case 'user':
      return `user/${caller.identity.user}`
    case 'agent':
      return `agent/${caller.identity.agentId}/${caller.identity.service}`
    case 'proxy':
      return `proxy/${caller.identity.proxyId}`
  }
}

/**
 * The actor in the audit log: a user's name, an agent's or proxy's id, `key/<name>`, or `oidc/<connector>/<subject>`, which no
 * user's name looks like.
 */
export function actorOf(caller: Caller): string {
  switch (caller.kind) {
    case 'operator':
      return `key/${caller.key.name}`
    case 'workload':
      return `oidc/${caller.connector}/${caller.subject}`
    case 'user':
      return caller.identity.user
    case 'agent':
      return caller.identity.agentId
    case 'proxy':
      return caller.identity.proxyId
  }
}

/** What the audit log has of a caller besides its name: enough to find the very key or job. */
export function auditFieldsOf(caller: Caller): Record<string, EventField> {
  switch (caller.kind) {
    case 'operator':
      return { key: caller.key.id, owner: caller.key.owner }
    case 'workload':
      return { issuer: caller.issuer, subject: caller.subject }
    case 'user':
    case 'agent':
    case 'proxy':
      return {}
  }
}

/**
 * decide(): who may reach what. Pure and total: the same question always gets the same answer, and the answer says why.
 * Agents ask it for every stream, and again when a session asks for more (a channel, a forward).
 *
 * The rule: some role must allow the login and the labels *together*; a deny in any role wins over every allow.
 */
import type { Instant } from '../clock.ts'
import { findLock, type Lock } from '../domain/lock.ts'
import type { Labels } from '../domain/name.ts'
import type { Role, RoleRules } from '../domain/role.ts'
import type { Traits } from '../domain/user.ts'
import type { AgentId } from '../ids.ts'
import { fillLogins, holdsLogin, labelsMatch } from './match.ts'

export type Want =
  /** Without a login: may the user reach the node at all, as somebody? */
  | { readonly kind: 'node'; readonly labels: Labels; readonly login: string | undefined }
  | { readonly kind: 'app'; readonly labels: Labels }

export interface Question {
  readonly user: string
  readonly traits: Traits
  /** Roles named in the certificate. */
  readonly certificateRoles: readonly string[]
  readonly certificateExpires: Instant
  /** Roles the policy gives this user now. */
  readonly currentRoles: readonly string[]
  readonly roles: ReadonlyMap<string, Role>
  readonly locks: readonly Lock[]
  readonly agentId: AgentId
  readonly want: Want
  readonly now: Instant
  /** Age of the newest proof that the policy is current, ms. */
  readonly viewAge: number
  /** Above this age, roles with lock mode `strict` grant nothing. */
  readonly strictAge: number
}

/** What the granting roles allow inside a session: a permission if one grants it, a restriction if one sets it. */
export interface Grant {
  readonly forwardAgent: boolean
  readonly localForwarding: boolean
  readonly remoteForwarding: boolean
  readonly fileCopy: boolean
  readonly idleTimeout: number | undefined
  readonly maxSessions: number | undefined
}

export type Refusal =
  | 'certificate expired'
  | 'user locked'
  | 'agent locked'
  | 'no role in force'
  | 'denied by role'
  | 'no role allows it'
  | 'view too old'

export type Decision =
  | {
      readonly allow: true
      readonly roles: readonly string[]
      readonly grant: Grant
      readonly why: string
    }
  | { readonly allow: false; readonly reason: Refusal; readonly why: string }

const refuse = (reason: Refusal, why: string): Decision => ({ allow: false, reason, why })

function allows(rules: RoleRules, want: Want, traits: Traits): boolean {
  switch (want.kind) {
    case 'app':
      return labelsMatch(rules.appLabels, want.labels)
    case 'node': {
      if (!labelsMatch(rules.nodeLabels, want.labels)) return false
      return want.login === undefined
        ? fillLogins(rules.logins, traits).length > 0
        : holdsLogin(rules.logins, traits, want.login)
    }
  }
}

/** What denies: the labels alone, or the login alone, as in Teleport: each deny field stands for itself. */
function denies(rules: RoleRules, want: Want, traits: Traits): string | undefined {
  switch (want.kind) {
    case 'app':
      return labelsMatch(rules.appLabels, want.labels) ? 'app_labels' : undefined
    case 'node': {
      if (labelsMatch(rules.nodeLabels, want.labels)) return 'node_labels'
      if (want.login === undefined) return undefined
      if (rules.logins.includes('*')) return 'logins'
      return holdsLogin(rules.logins, traits, want.login) ? 'logins' : undefined
    }
  }
}

function smallest(values: readonly (number | undefined)[]): number | undefined {
  const given = values.filter((v) => v !== undefined)
  return given.length === 0 ? undefined : Math.min(...given)
}

function grantOf(roles: readonly Role[]): Grant {
  const options = roles.map((role) => role.options)
  return {
    forwardAgent: options.some((o) => o.forwardAgent),
    localForwarding: options.every((o) => o.localForwarding),
    remoteForwarding: options.every((o) => o.remoteForwarding),
    fileCopy: options.every((o) => o.fileCopy),
    idleTimeout: smallest(options.map((o) => o.idleTimeout)),
    maxSessions: smallest(options.map((o) => o.maxSessions)),
  }
}

export function decide(q: Question): Decision {
  if (q.now >= q.certificateExpires)
    return refuse('certificate expired', 'the user certificate has expired')
  const agentLock = findLock(
    q.locks,
    { kind: 'agent', agent: q.agentId, service: q.want.kind === 'app' ? 'app' : 'ssh' },
    q.now,
  )
  if (agentLock) return refuse('agent locked', `lock ${agentLock.id} on agent ${q.agentId}`)

  const current = new Set(q.currentRoles)
  const effective = q.certificateRoles.filter((name) => current.has(name))
  const userLock = findLock(q.locks, { kind: 'user', user: q.user, roles: effective }, q.now)
  if (userLock) return refuse('user locked', `lock ${userLock.id} on ${userLock.target.kind}`)
  const roles = effective.map((name) => q.roles.get(name)).filter((role) => role !== undefined)
  if (roles.length === 0)
    return refuse(
      'no role in force',
      `none of the certificate's roles [${q.certificateRoles.join(', ')}] is held now`,
    )

  for (const role of roles) {
    const field = denies(role.deny, q.want, q.traits)
    if (field) return refuse('denied by role', `role ${role.name} denies by ${field}`)
  }
  const matching = roles.filter((role) => allows(role.allow, q.want, q.traits))
  if (matching.length === 0)
    return refuse(
      'no role allows it',
      `none of [${roles.map((r) => r.name).join(', ')}] allows ${wantText(q.want)}`,
    )
  const granting = matching.filter(
    (role) => role.options.lock === 'best_effort' || q.viewAge <= q.strictAge,
  )
  if (granting.length === 0)
    return refuse(
      'view too old',
      `the policy was last confirmed ${Math.round(q.viewAge / 1000)} s ago and the role's lock mode is strict`,
    )
  return {
    allow: true,
    roles: granting.map((role) => role.name),
    grant: grantOf(granting),
    why: `allowed by ${granting.map((role) => role.name).join(', ')}`,
  }
}

function wantText(want: Want): string {
  const labels = Object.entries(want.labels)
    .map(([k, v]) => `${k}=${v}`)
    .join(',')
  const what = want.kind === 'node' ? `login ${want.login ?? '(any)'} on a node` : 'an app'
  return `${what} labelled {${labels}}`
}

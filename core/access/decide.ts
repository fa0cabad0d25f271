/**
 * decide(): who may reach what. Pure and total: the same question always gets the same answer, and the answer says why.
 * Agents ask it for every stream, and again when a session asks for more (a channel, a forward).
 *
 * The rule: some role must allow the login and the labels *together*; a deny in any role wins over every allow.
 */
import type { Instant } from '../clock.ts'
import { findLock, type Lock } from '../domain/lock.ts'
import type { Labels } from '../domain/name.ts'
import type { Role } from '../domain/role.ts'
import type { Traits } from '../domain/user.ts'
import type { AgentId } from '../ids.ts'
import { holdsLogin, loginsOf, type LoginRules } from './match.ts'
import { rolesInForce, type RoleSet } from './role-set.ts'

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

/** The roles that allow it: by the labels and, on a node, the login together. */
function allowing({ index, roles }: RoleSet, want: Want, traits: Traits): Role[] {
  const found: Role[] = []
  for (const place of index('allow', want.kind).holding(want.labels)) {
    const one = roles[place]
    if (one && (want.kind === 'app' || mayLogIn(one.allow.logins, want.login, traits)))
      found.push(one.role)
  }
  return found
}

const mayLogIn = (rules: LoginRules, login: string | undefined, traits: Traits): boolean =>
  login === undefined ? loginsOf(rules, traits).length > 0 : holdsLogin(rules, traits, login)

/** What denies: the labels alone, or the login alone, as in Teleport: each deny field stands for itself. */
function denial({ index, roles, denyLogins }: RoleSet, want: Want, traits: Traits) {
  const [place] = index('deny', want.kind).holding(want.labels)
  const byLabels = place === undefined ? undefined : roles[place]
  if (byLabels) return { role: byLabels.role, field: `${want.kind}_labels` }
  if (want.kind === 'app' || want.login === undefined) return undefined
  for (const { role, deny } of denyLogins)
    if (deny.everyLogin || holdsLogin(deny.logins, traits, want.login))
      return { role, field: 'logins' }
  return undefined
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

  const held = rolesInForce(q.certificateRoles, q.currentRoles, q.roles)
  const userLock = findLock(q.locks, { kind: 'user', user: q.user, roles: held.names }, q.now)
  if (userLock) return refuse('user locked', `lock ${userLock.id} on ${userLock.target.kind}`)
  if (held.roles.length === 0)
    return refuse(
      'no role in force',
      `none of the certificate's roles [${q.certificateRoles.join(', ')}] is held now`,
    )

  const denied = denial(held, q.want, q.traits)
  if (denied) return refuse('denied by role', `role ${denied.role.name} denies by ${denied.field}`)
  const matching = allowing(held, q.want, q.traits)
  if (matching.length === 0)
    return refuse(
      'no role allows it',
      `none of [${held.roles.map(({ role }) => role.name).join(', ')}] allows ${wantText(q.want)}`,
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

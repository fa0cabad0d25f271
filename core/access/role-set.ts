/**
 * Roles made ready for many questions: an agent asks for every stream, a list of nodes for every row, and the roles are the same
 * ones each time. A role is taken apart once, the roles in force are found once per user and policy. Both are kept by the
 * identity of what they were made from, which is parsed and never changed afterwards, and go when it goes.
 */
import type { Role, RoleRules } from '../domain/role.ts'
import { labelIndex, type LabelIndex } from './label-index.ts'
import { conditionsOf, loginRules, type Conditions, type LoginRules } from './match.ts'

type Side = 'allow' | 'deny'
type Kind = 'node' | 'app'

/** One side of a role, its selectors and logins taken apart. */
interface ReadySide {
  readonly node: Conditions | undefined
  readonly app: Conditions | undefined
  readonly logins: LoginRules
  readonly everyLogin: boolean
}
interface ReadyRole {
  readonly role: Role
  readonly allow: ReadySide
  readonly deny: ReadySide
}

const readySide = ({ nodeLabels, appLabels, logins }: RoleRules): ReadySide => ({
  node: nodeLabels && conditionsOf(nodeLabels),
  app: appLabels && conditionsOf(appLabels),
  logins: loginRules(logins),
  everyLogin: logins.includes('*'),
})

const readyRoles = new WeakMap<Role, ReadyRole>()

function readyRole(role: Role): ReadyRole {
  const kept = readyRoles.get(role)
  if (kept) return kept
  const made = { role, allow: readySide(role.allow), deny: readySide(role.deny) }
  readyRoles.set(role, made)
  return made
}

/** What a user's roles come to now. Indexes give places in `roles`. */
export interface RoleSet {
  /** Held by the certificate and by the policy, known to it or not: a lock on any of them strikes. */
  readonly names: readonly string[]
  readonly roles: readonly ReadyRole[]
  readonly index: (side: Side, kind: Kind) => LabelIndex
  /** Those that deny some login, whatever the labels. */
  readonly denyLogins: readonly ReadyRole[]
}

function makeSet(names: readonly string[], known: ReadonlyMap<string, Role>): RoleSet {
  const roles = names.flatMap((name) => {
    const role = known.get(name)
    return role ? [readyRole(role)] : []
  })
  const indexes: Record<Side, Partial<Record<Kind, LabelIndex>>> = { allow: {}, deny: {} }
  return {
    names,
    roles,
    // A connection asks for nodes or for apps, hardly ever for both.
    index: (side, kind) =>
      (indexes[side][kind] ??= labelIndex(roles.map((one) => one[side][kind]))),
    denyLogins: roles.filter(({ role }) => role.deny.logins.length > 0),
  }
}

interface Kept {
  readonly current: readonly string[]
  readonly known: ReadonlyMap<string, Role>
  readonly set: RoleSet
}
const sets = new WeakMap<readonly string[], Kept>()

/**
 * The roles in force: those named in the certificate that the policy gives the user now.
 * A certificate's last answer is kept, and made anew as soon as the policy is another.
 */
export function rolesInForce(
  certificateRoles: readonly string[],
  current: readonly string[],
  known: ReadonlyMap<string, Role>,
): RoleSet {
  const kept = sets.get(certificateRoles)
  if (kept && kept.current === current && kept.known === known) return kept.set
  const held = new Set(current)
  const set = makeSet(
    certificateRoles.filter((name) => held.has(name)),
    known,
  )
  sets.set(certificateRoles, { current, known, set })
  return set
}

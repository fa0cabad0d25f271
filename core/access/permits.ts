/** May this caller use a kind of the API at all? For operators' keys and for users' roles alike; deny wins. */
import {
  RULE_KINDS,
  RULE_VERBS,
  type ApiRule,
  type Role,
  type RuleKind,
  type RuleVerb,
} from '../domain/role.ts'

/** `*` asks for everything, also for what a later version brings: only a rule of `*` grants it. */
type Kind = RuleKind | '*'
type Verb = RuleVerb | '*'

const covers = (rules: readonly ApiRule[], kind: Kind, verb: Verb): boolean =>
  rules.some(
    (rule) =>
      (rule.resources.includes('*') || rule.resources.includes(kind)) &&
      (rule.verbs.includes('*') || rule.verbs.includes(verb)),
  )

/** Who asks for everything is denied by a denial of anything in it. */
const denies = (rules: readonly ApiRule[], kind: Kind, verb: Verb): boolean =>
  rules.some(
    (rule) =>
      (kind === '*' || rule.resources.includes('*') || rule.resources.includes(kind)) &&
      (verb === '*' || rule.verbs.includes('*') || rule.verbs.includes(verb)),
  )

export function permits(
  sides: readonly { readonly allow: readonly ApiRule[]; readonly deny: readonly ApiRule[] }[],
  kind: Kind,
  verb: Verb,
): boolean {
  if (sides.some((side) => denies(side.deny, kind, verb))) return false
  return sides.some((side) => covers(side.allow, kind, verb))
}

export const sidesOf = (roles: readonly Role[]) =>
  roles.map((role) => ({ allow: role.allow.rules, deny: role.deny.rules }))

type May = (kind: Kind, verb: Verb) => boolean

/** The first right among the scopes that is not there, as `token:create`; undefined when all are. */
export function beyond(scopes: readonly ApiRule[], may: May): string | undefined {
  for (const { resources, verbs } of scopes)
    for (const kind of resources)
      for (const verb of verbs) if (!may(kind, verb)) return `${kind}:${verb}`
  return undefined
}

/** Everything that is permitted, kind by kind; kinds without a right are left out. */
export function permissions(may: May): Partial<Record<RuleKind, RuleVerb[]>> {
  const found: Partial<Record<RuleKind, RuleVerb[]>> = {}
  for (const kind of RULE_KINDS) {
    const verbs = RULE_VERBS.filter((verb) => may(kind, verb))
    if (verbs.length > 0) found[kind] = verbs
  }
  return found
}

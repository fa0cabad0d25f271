/** May this caller use a kind of the API at all? For operators' keys and for users' roles alike; deny wins. */
import type { ApiRule, Role, RuleKind, RuleVerb } from '../domain/role.ts'

const covers = (rules: readonly ApiRule[], kind: RuleKind, verb: RuleVerb): boolean =>
  rules.some(
    (rule) =>
      (rule.resources.includes('*') || rule.resources.includes(kind)) &&
      (rule.verbs.includes('*') || rule.verbs.includes(verb)),
  )

export function permits(
  sides: readonly { readonly allow: readonly ApiRule[]; readonly deny: readonly ApiRule[] }[],
  kind: RuleKind,
  verb: RuleVerb,
): boolean {
  if (sides.some((side) => covers(side.deny, kind, verb))) return false
  return sides.some((side) => covers(side.allow, kind, verb))
}

export const sidesOf = (roles: readonly Role[]) =>
  roles.map((role) => ({ allow: role.allow.rules, deny: role.deny.rules }))

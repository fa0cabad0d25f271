/**
 * Which resources a caller may see and find the way to: operators with the right all, users what decide() would let them reach.
 * The agent decides again for every stream; this only keeps from the list what would be refused.
 */
import { decide, type Want } from '../core/access/decide.ts'
import type { Instant } from '../core/clock.ts'
import type { Resource } from '../core/domain/resource.ts'
import type { RuleKind } from '../core/domain/role.ts'
import { LIMITS } from '../core/limits.ts'
import type { Caller, UserCaller } from './middleware/callers.ts'
import { may } from './middleware/rights.ts'

function wantOf(resource: Resource): Want | undefined {
  switch (resource.kind) {
    case 'node':
      return { kind: 'node', labels: resource.labels, login: undefined }
    case 'app':
      return { kind: 'app', labels: resource.labels }
    case 'db':
    case 'kube_cluster':
      return undefined
  }
}

/** What this user may reach; made once and asked for every row of a list. */
export function reachOf(caller: UserCaller, now: Instant): (resource: Resource) => boolean {
  const roles = new Map(caller.roles.map((role) => [role.name, role]))
  return (resource) => {
    const want = wantOf(resource)
    return (
      want !== undefined &&
      decide({
        user: caller.identity.user,
        traits: caller.identity.traits,
        certificateRoles: caller.identity.roles,
        certificateExpires: caller.identity.expires,
        currentRoles: caller.user.roles,
        roles,
        locks: caller.locks,
        agentId: resource.agentId,
        want,
        now,
        viewAge: 0,
        strictAge: LIMITS.policyStrict.value,
      }).allow
    )
  }
}

/** The filter for this caller; undefined when the caller is nobody who sees resources at all. */
export function visibleTo(
  caller: Caller,
  kind: RuleKind,
  now: Instant,
): ((resource: Resource) => boolean) | undefined {
  switch (caller.kind) {
    case 'operator':
    case 'workload':
      return may(caller, kind, 'list') ? () => true : undefined
    case 'user':
      return reachOf(caller, now)
    case 'agent':
    case 'proxy':
      return undefined
  }
}

/**
 * The rule of a join: may these facts, with this token, become this service under this name? Pure; what only the table can
 * know (uses left, names held by others) is the commit's matter.
 */
import type { Instant } from '../clock.ts'
import { roleOfService, type IdentityKind } from '../domain/service.ts'
import type { JoinMethodName } from '../domain/join-method.ts'
import type { JoinToken } from '../domain/token.ts'

/** Why this token is none for that method. */
type TokenRefusal = 'unknown token' | 'expired' | 'wrong method'
export type AdmissionRefusal = TokenRefusal | 'service not allowed' | 'name not allowed'

export interface JoinWish {
  readonly method: JoinMethodName
  readonly service: IdentityKind
  readonly nodeName: string
}

/** Whether the token can serve at all, which is asked before evidence that depends on it is looked at. */
export function unusable(
  token: JoinToken | undefined,
  method: JoinMethodName,
  now: Instant,
): TokenRefusal | undefined {
  if (!token) return 'unknown token'
  if (now >= token.expires) return 'expired'
  return token.method === method ? undefined : 'wrong method'
}

/**
 * Why it is refused, or undefined. A token that is used up passes: the agent that used it may add a service or repeat a join
 * whose answer was lost, and the commit tells the two apart.
 */
export function admit(
  token: JoinToken | undefined,
  wish: JoinWish,
  now: Instant,
): AdmissionRefusal | undefined {
  const refused = unusable(token, wish.method, now)
  if (refused !== undefined || !token) return refused
  if (!token.roles.includes(roleOfService(wish.service))) return 'service not allowed'
  // A list of names is about every name that the agent takes, its own included.
  if (token.allowedNames && !token.allowedNames.includes(wish.nodeName)) return 'name not allowed'
  return undefined
}

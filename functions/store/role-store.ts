/** Roles. Every change bumps the policy version in the same transaction. */
import type { Role } from '../../core/domain/role.ts'

export interface RoleStore {
  /** Strongly consistent. */
  get(name: string): Promise<Role | undefined>
  /** All of them, sorted by name: the policy needs the whole. Strongly consistent. */
  list(): Promise<Role[]>
  /** Creates or replaces; the last writer wins. Nothing is written, and the version stays, when it is there as it is. */
  put(role: Role): Promise<'created' | 'replaced' | 'unchanged'>
  /** False when there was none. */
  remove(name: string): Promise<boolean>
}

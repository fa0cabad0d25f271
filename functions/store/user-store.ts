/** Local users. Every change of roles or traits bumps the policy version; password hashes lie under keys that only login reads. */
import type { User } from '../../core/domain/user.ts'

export interface UserStore {
  /** Strongly consistent. */
  get(name: string): Promise<User | undefined>
  /** All of them, sorted by name: the policy needs the whole. Strongly consistent. */
  list(): Promise<User[]>
  /** Creates or replaces (keeping `created` of the old); nothing is written when it is there as it is. */
  put(user: User): Promise<'created' | 'replaced' | 'unchanged'>
  /** With the password, in one transaction. False when there was none. */
  remove(name: string): Promise<boolean>
  /** Stores an opaque hash; ERR_NOT_FOUND when there is no such user. */
  setPasswordHash(name: string, hash: string): Promise<void>
  /** Strongly consistent; undefined when the user or the password is missing. */
  passwordHash(name: string): Promise<string | undefined>
}

/** The policy's version, the snapshot it is signed from, and what was signed (protocols.md 6). */
import type { Instant } from '../../core/clock.ts'
import type { Lock } from '../../core/domain/lock.ts'
import type { Role } from '../../core/domain/role.ts'
import type { User } from '../../core/domain/user.ts'

interface PolicySnapshot {
  readonly version: number
  readonly roles: readonly Role[]
  readonly users: readonly User[]
  readonly locks: readonly Lock[]
}

/** A signed policy document. `digest` is that of its payload; the same version always has the same bytes. */
export interface SignedPolicy {
  readonly version: number
  readonly digest: string
  readonly jws: string
}

/** Which document is the newest, without its text. */
export type SignedHead = Omit<SignedPolicy, 'jws'>

export interface SignedFreshness {
  readonly version: number
  readonly issued: Instant
  readonly jws: string
}

export interface PolicyStore {
  /** The number that every change of a role, user or lock bumps; 0 before the first. Strongly consistent. */
  version(): Promise<number>
  /** Bumps it for a change that is not in the table (a CA). */
  bump(): Promise<number>
  /**
   * Roles, users and locks with their version. Read again when a change fell in between; when changes do not cease, what is
   * in it is newer than the version says, never older, and the bump that made it so calls for the next one. Strongly consistent.
   */
  snapshot(now: Instant): Promise<PolicySnapshot>
  /** Which document is the newest; one read, however large it is. Strongly consistent. */
  head(): Promise<SignedHead | undefined>
  /** The newest signed document. Strongly consistent. */
  signed(): Promise<SignedPolicy | undefined>
  /**
   * Publishes a document. The first for a version wins and is returned, so that every function serves the same bytes; an
   * older version than the published one changes nothing and the published one is returned.
   */
  publish(policy: SignedPolicy): Promise<SignedPolicy>
  freshness(): Promise<SignedFreshness | undefined>
  /** Replaces the stamp unless a newer one is there; returns the one in force. */
  publishFreshness(stamp: SignedFreshness): Promise<SignedFreshness>
}

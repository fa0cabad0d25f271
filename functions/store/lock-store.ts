/** Locks. Every change bumps the policy version in the same transaction; expired means absent. */
import type { Instant } from '../../core/clock.ts'
import type { Lock, LockTarget } from '../../core/domain/lock.ts'
import type { LockId } from '../../core/ids.ts'

export interface LockStore {
  /** A known id is ERR_CONFLICT. */
  create(lock: Lock): Promise<void>
  /** Strongly consistent. */
  get(id: LockId, now: Instant): Promise<Lock | undefined>
  /** All in force at `now`, oldest first. Strongly consistent. */
  list(now: Instant): Promise<Lock[]>
  /** Those in force on exactly this target; one read. Strongly consistent. */
  on(target: LockTarget, now: Instant): Promise<Lock[]>
  /** Those in force on any of these; one read for each. Strongly consistent. */
  onAny(targets: readonly LockTarget[], now: Instant): Promise<Lock[]>
  /** False when there was none. */
  remove(id: LockId): Promise<boolean>
}

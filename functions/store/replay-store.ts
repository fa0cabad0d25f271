/** Things that may be used once: `jti` of signed writes. And things that may be used by one: bearer evidence. */
import type { Instant } from '../../core/clock.ts'

export interface ReplayStore {
  /** True for exactly one caller until `expires`. `scope` keeps ids of different issuers apart. */
  spend(scope: string, id: string, expires: Instant, now: Instant): Promise<boolean>
  /** True for the first `owner` until `expires`, however often it asks; false for every other one. One conditional write. */
  claim(scope: string, id: string, owner: string, expires: Instant, now: Instant): Promise<boolean>
}

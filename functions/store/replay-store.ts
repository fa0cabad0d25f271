/** Things that may be used once: `jti` of signed writes, bearer evidence. */
import type { Instant } from '../../core/clock.ts'

export interface ReplayStore {
  /** True for exactly one caller until `expires`. `scope` keeps ids of different issuers apart. */
  spend(scope: string, id: string, expires: Instant, now: Instant): Promise<boolean>
}

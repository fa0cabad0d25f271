/** Join tokens: what the control plane asks of the table about them. Counting a use is the join's business (join-store.ts). */
import type { Instant } from '../../core/clock.ts'
import type { JoinToken } from '../../core/domain/token.ts'
import type { Page, PageRequest } from './page.ts'

export interface TokenStore {
  /**
   * Writes a new token; `secretHash` for those with a secret. One transaction. A name that is held by a token not yet
   * expired is ERR_CONFLICT; an expired one is replaced and its secret forgotten.
   * Returns the token as stored (times in whole seconds).
   */
  create(token: JoinToken, secretHash: string | undefined): Promise<JoinToken>
  /** The token whose secret has this hash, expired or not; the caller checks `tokenState`. Strongly consistent. */
  bySecretHash(secretHash: string): Promise<JoinToken | undefined>
  /** Strongly consistent. An expired token is shown until the sweep removes it. */
  byName(name: string): Promise<JoinToken | undefined>
  /** Eventually consistent. Tokens expired at `now` are left out: expired means absent. */
  list(page: PageRequest, now: Instant): Promise<Page<JoinToken>>
  /** Removes it at once; joins in flight that have not committed are refused. The token removed, or undefined when absent. */
  revoke(name: string): Promise<JoinToken | undefined>
}

/** API keys of operators and programs: a hash, an owner and what the key may do. */
import type { Instant } from '../../core/clock.ts'
import type { ApiKey } from '../../core/domain/api-key.ts'
import type { KeyId } from '../../core/ids.ts'
import type { Page, PageRequest } from './page.ts'

export interface ApiKeyStore {
  /** Stores a key under the SHA-256 of its secret. ERR_CONFLICT when the id or hash is known. */
  create(key: ApiKey, secretHash: string): Promise<void>
  /** Strongly consistent; expired means absent. */
  byHash(secretHash: string, now: Instant): Promise<ApiKey | undefined>
  /** Eventually consistent; those expired at `now` are left out. */
  list(page: PageRequest, now: Instant): Promise<Page<ApiKey>>
  /** Strongly consistent; expired means absent. */
  get(id: KeyId, now: Instant): Promise<ApiKey | undefined>
  /** The key that was revoked, undefined when there was none. Of racing calls one gets it. */
  revoke(id: KeyId): Promise<ApiKey | undefined>
}

/** API keys of operators and programs: a hash, an owner and what the key may do. */
import type { Instant } from '../../core/clock.ts'
import type { ApiRule } from '../../core/domain/role.ts'
import type { KeyId } from '../../core/ids.ts'
import type { Page, PageRequest } from './page.ts'

export interface ApiKey {
  readonly id: KeyId
  /** Readable, for lists and the audit log. */
  readonly name: string
  /** The user it acts for. */
  readonly owner: string
  /** What it may do, as rules of roles say it. */
  readonly scopes: readonly ApiRule[]
  readonly created: Instant
  /** undefined = until revoked. */
  readonly expires: Instant | undefined
}

export interface ApiKeyStore {
  /** Stores a key under the SHA-256 of its secret. ERR_CONFLICT when the id or hash is known. */
  create(key: ApiKey, secretHash: string): Promise<void>
  /** Strongly consistent; expired means absent. */
  byHash(secretHash: string, now: Instant): Promise<ApiKey | undefined>
  /** Eventually consistent; those expired at `now` are left out. */
  list(page: PageRequest, now: Instant): Promise<Page<ApiKey>>
  /** False when there was none. */
  revoke(id: KeyId): Promise<boolean>
}

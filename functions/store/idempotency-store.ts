/** Idempotency-Key: the first call runs, repeats get its answer. */
import type { Instant } from '../../core/clock.ts'

export interface IdempotencyKey {
  /** Who calls; keys of different callers never meet. */
  readonly principal: string
  readonly key: string
  /** Hash over method, path and body: the same key for another request is a mistake of the caller. */
  readonly request: string
}

/** A stored answer. Secrets do not belong in it: the table keeps secrets only as hashes, so the caller seals or leaves them out. */
export interface StoredAnswer {
  readonly status: number
  readonly body: string
}

export type IdempotencyStart =
  /** This call is the first, or the first one died long ago: run it, then `finish`. */
  | { readonly kind: 'first' }
  | { readonly kind: 'done'; readonly answer: StoredAnswer }
  /** The first call has not finished yet. */
  | { readonly kind: 'running' }
  | { readonly kind: 'mismatch' }

export interface IdempotencyStore {
  /** Put if absent: of racing calls one is `first`. A first call without an answer holds the key for LIMITS.httpTimeout twice. */
  start(key: IdempotencyKey, now: Instant): Promise<IdempotencyStart>
  /** Remembers the answer for LIMITS.idempotencyTtl. */
  finish(key: IdempotencyKey, answer: StoredAnswer, now: Instant): Promise<void>
  /** Gives the key up after a failure that may be tried again. */
  abandon(key: IdempotencyKey): Promise<void>
}

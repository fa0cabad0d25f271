/** Keypairs registered for tokens of method `bound_keypair`, and the join state of each service (core/join/bound-keypair-state). */
import type { BoundKeypair } from '../../core/join/bound-keypair-state.ts'
import type { JoinToken } from '../../core/domain/token.ts'

/** A key is registered and its state moved on by the commit of a join (join-store.ts), never from here. */
export interface BoundKeypairStore {
  /** Strongly consistent. undefined until a key is registered for this very token. */
  get(token: JoinToken): Promise<BoundKeypair | undefined>
  /** Nobody joins with the key from here on. */
  lock(token: JoinToken): Promise<void>
}

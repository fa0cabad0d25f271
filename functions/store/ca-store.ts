/** The CAs' public halves and how far their rotations are; and what the policy key signed about them. No private key, ever. */
import type { CaKind, CaState } from '../../core/domain/ca.ts'

/** What everybody may have: the CAs, signed, and how the policy key came to be the one it is. */
export interface SignedCas {
  /** Sum of the versions of the states that were signed; the newest wins. */
  readonly version: number
  /** JWS of typ `postern-cas+jws`. */
  readonly jws: string
  /** JWSs of typ `postern-policy-key+jws`, oldest first: each an older policy key's word for the next. */
  readonly links: readonly string[]
}

export interface CaStore {
  /** Those that are there. One query, strongly consistent. */
  states(): Promise<CaState[]>
  /** Put if absent: of racing first starts one wins, and every caller gets the winner's. */
  init(state: CaState): Promise<CaState>
  /**
   * Compare and set by version, the policy's version bumped in the same transaction. ERR_CONFLICT when another change came
   * first. `expected` 0: there was none.
   */
  replace(next: CaState, expected: number): Promise<void>
  /** Strongly consistent. */
  signed(): Promise<SignedCas | undefined>
  /** Replaces what is there unless it is of a higher version. */
  publish(signed: SignedCas): Promise<void>
}

/** By kind; undefined for one that is not in the table. */
export const stateOf = (states: readonly CaState[], kind: CaKind): CaState | undefined =>
  states.find((state) => state.kind === kind)

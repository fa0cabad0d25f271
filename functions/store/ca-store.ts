/** The CAs' public halves and how far their rotations are; and what the policy key signed about them. No private key, ever. */
import type { Instant } from '../../core/clock.ts'
import type { CaKind, CaState } from '../../core/domain/ca.ts'
import type { JsonWebKeyLike } from '../../core/domain/policy.ts'

/** What everybody may have: the CAs, signed, and how the policy key came to be the one it is. */
export interface SignedCas {
  /** Sum of the versions of the states that were signed; the newest wins. */
  readonly version: number
  /** JWS of typ `postern-cas+jws`. */
  readonly jws: string
  /** JWSs of typ `postern-policy-key+jws`, oldest first: each an older policy key's word for the next. */
  readonly links: readonly string[]
}

/** The public half of the key that signs JWTs. No CA: nothing is certified by it, and nobody has to trust it before it is used. */
export interface JwtKey {
  /** Where its holder finds the private half. */
  readonly ref: string
  readonly created: Instant
  readonly jwk: JsonWebKeyLike
}

/**
 * The CA by which database servers will know agents. Nobody else trusts it, so it has no phases: a server's operator names it in the
 * server's configuration, and the verb that signs with it comes with the database service.
 */
export interface DbClientCa {
  readonly ref: string
  readonly created: Instant
  /** Self-signed, PEM. */
  readonly certificate: string
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
  /** Undefined while there is none. Strongly consistent. */
  jwtKey(): Promise<JwtKey | undefined>
  /** Put if absent: every caller gets the winner's. */
  initJwtKey(key: JwtKey): Promise<JwtKey>
  /** The same for the CA of database clients. */
  dbClientCa(): Promise<DbClientCa | undefined>
  initDbClientCa(ca: DbClientCa): Promise<DbClientCa>
  /** Strongly consistent. */
  signed(): Promise<SignedCas | undefined>
  /** Replaces what is there unless it is of a higher version. */
  publish(signed: SignedCas): Promise<void>
}

/** By kind; undefined for one that is not in the table. */
export const stateOf = (states: readonly CaState[], kind: CaKind): CaState | undefined =>
  states.find((state) => state.kind === kind)

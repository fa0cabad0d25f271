/** The collecting half of a join method: what this machine can show. The verifying half is in core/join. */
import type { Credentials } from '../../core/api/join.ts'
import type { JoinMethodName } from '../../core/domain/join-method.ts'
import type { JoinKeys } from '../../core/join/binding.ts'

/** A proof that has begun before there is a challenge. */
export interface Opened {
  /** Goes along with the wish for a challenge. */
  readonly params: unknown
  /** The evidence, from the challenge and what was asked beside it. */
  collect(challenge: string, untrustedQuestion: unknown, keys: JoinKeys): Promise<unknown>
  /** Lets go of the machine's parts, whether there was a challenge or not. */
  close(): Promise<void>
}

export interface CollectContext {
  readonly signal: AbortSignal
  /** Name of the cluster: what evidence is made out to where the issuer lets us choose. */
  readonly cluster: string
  /** Whose join it is: for evidence that can say so. */
  readonly keys: JoinKeys
}

interface Collector {
  readonly name: JoinMethodName
  /** How the challenge names the token: its public name, or the hash of its secret, never the secret. */
  handle(): Promise<string>
  /** The join was answered and the answer checked; it is not on disk yet. */
  accepted?(answer: Credentials): Promise<void>
}

/** Most methods answer a challenge; some have to begin before it. */
export type EvidenceCollector = Collector &
  (
    | {
        /**
         * The evidence for this challenge; its schema is the method's in core/join. Throws ERR_TOKEN_NEEDED or ERR_EVIDENCE_MISSING
         * when this machine has nothing to show.
         */
        collect(challenge: string, context: CollectContext): Promise<unknown>
      }
    | { open(): Promise<Opened> }
  )

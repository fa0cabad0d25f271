/** The collecting half of a join method: what this machine can show. The verifying half is in core/join. */
import type { Credentials } from '../../core/api/join.ts'
import type { JoinMethodName } from '../../core/domain/token.ts'

export interface EvidenceCollector {
  readonly name: JoinMethodName
  /** How the challenge names the token: its public name, or the hash of its secret, never the secret. */
  handle(): Promise<string>
  /**
   * The evidence for this challenge, made out to this cluster where the issuer lets us choose; its schema is the method's in
   * core/join. Throws ERR_TOKEN_NEEDED when this machine has nothing to show.
   */
  collect(challenge: string, signal: AbortSignal, cluster: string): Promise<unknown>
  /** The join was answered and the answer checked; it is not on disk yet. */
  accepted?(answer: Credentials): Promise<void>
}

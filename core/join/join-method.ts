/**
 * A join method: how a machine proves what it is. This is the verifying half; the collecting half of the same name is in
 * agent/join. A method turns evidence into facts and decides nothing about access.
 */
import type * as z from 'zod'
import type { Instant } from '../clock.ts'
import type { JoinMethodName } from '../domain/token.ts'
import type { Challenge } from './challenge.ts'

export interface JoinContext {
  /** Opened and checked: of this server, not expired, for these keys. */
  readonly challenge: Challenge
  readonly now: Instant
}

export interface JoinFacts {
  /** Who or what the evidence names, for the audit log. Never a secret. */
  readonly subject: string
  /** What rules of tokens are matched against. */
  readonly attributes: Readonly<Record<string, string>>
  /** How the token is found: by its public name, or by the hash of the secret that was shown. */
  readonly token:
    | { readonly by: 'name'; readonly name: string }
    | { readonly by: 'secret'; readonly hash: string }
}

export interface JoinMethod<E> {
  /** Also the name of its page in docs/join. */
  readonly name: JoinMethodName
  /** `bound`: the challenge is inside the evidence. `bearer`: whoever holds the evidence may use it (protocols.md 1.5). */
  readonly strength: 'bound' | 'bearer'
  /** Parsed before verify() sees it; the size was capped before that. */
  readonly evidence: z.ZodType<E>
  /** Throws ERR_JOIN_REFUSED whose `internal` is the exact reason. */
  verify(evidence: E, context: JoinContext): Promise<JoinFacts>
}

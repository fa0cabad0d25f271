/**
 * A join method: how a machine proves what it is. This is the verifying half; the collecting half of the same name is in
 * agent/join. A method turns evidence into facts and decides nothing about access.
 */
import type * as z from 'zod'
import type { Instant } from '../clock.ts'
import type { JoinMethodName, JoinToken } from '../domain/token.ts'
import type { Challenge } from './challenge.ts'

export interface JoinContext {
  /** Opened and checked: of this server, not expired, for these keys. */
  readonly challenge: Challenge
  readonly now: Instant
  /** Name of the cluster: what evidence with an audience is made out to. */
  readonly cluster: string
  /**
   * For methods whose tokens are found by name: the one that the challenge was made for, alive and of this method. undefined when
   * there is none such, and always for the other methods.
   */
  readonly token: JoinToken | undefined
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
  /** More than `attributes`, for the rules of methods that need it; not logged. */
  readonly claims?: Readonly<Record<string, unknown>>
  /** Bearer evidence is good for the first agent that shows it, until then: by what it is known again. */
  readonly spend?: { readonly id: string; readonly until: Instant }
}

export interface JoinMethod<E> {
  /** Also the name of its page in docs/join. */
  readonly name: JoinMethodName
  /** `bound`: the challenge is inside the evidence. `bearer`: whoever holds the evidence may use it (protocols.md 1.5). */
  readonly strength: 'bound' | 'bearer'
  /** `name`: the token's name is public, and its resource is read before the evidence. `secret`: the evidence leads to the token. */
  readonly tokenBy: 'name' | 'secret'
  /** Parsed before verify() sees it; the size was capped before that. */
  readonly evidence: z.ZodType<E>
  /** Throws ERR_JOIN_REFUSED whose `internal` is the exact reason. */
  verify(evidence: E, context: JoinContext): Promise<JoinFacts>
  /** Whether the token's rules let these facts in. Absent for methods whose tokens have no rules. Pure. */
  admits?(token: JoinToken, facts: JoinFacts): boolean
}

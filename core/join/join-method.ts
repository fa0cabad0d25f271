/**
 * A join method: how a machine proves what it is. This is the verifying half; the collecting half of the same name is in
 * agent/join. A method turns evidence into facts and decides nothing about access.
 */
import type * as z from 'zod'
import type { Instant } from '../clock.ts'
import type { JoinMethodName } from '../domain/join-method.ts'
import type { JoinToken } from '../domain/token.ts'
import type { Thumbprint } from '../ids.ts'
import type { JoinState } from './bound-keypair-state.ts'
import type { Challenge } from './challenge.ts'

export interface JoinContext {
  /** Opened and checked: of this server, not expired, for these keys. */
  readonly challenge: Challenge
  /** The challenge as it was handed out: what bound evidence has to contain. */
  readonly sealed: string
  /** For methods whose `tokenBy` is `name`: the token that the challenge was made for, found and of this method. */
  readonly token: JoinToken | undefined
  /** Name of the cluster: what evidence with an audience is made out to. */
  readonly cluster: string
  readonly now: Instant
}

/** Bearer evidence, good for the first enrolment key that shows it, until it is too old anyway: by what it is known again. */
export interface Spend {
  readonly id: string
  readonly until: Instant
}

/** What a join does to a bound keypair: its first one registers it, each moves a service's state on. */
export interface BoundMove {
  readonly key: Thumbprint
  /** Nobody has registered a key for this token yet. */
  readonly register: boolean
  /** The state to move on from; undefined at the first join of a service. */
  readonly from: JoinState | undefined
  /** The same keys joined before and the answer was lost: nothing moves. */
  readonly again: boolean
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
  /** Spent by the commit of the join, in the same transaction. */
  readonly spend?: Spend
  /** Moved by the commit of the join, in the same transaction. */
  readonly bound?: BoundMove
}

/** For methods whose challenge asks something that only this machine can answer. */
export interface Opening {
  /** Into the sealed challenge, where the machine cannot read it. */
  readonly kept: string
  /** To the machine, beside the challenge. */
  readonly question: Readonly<Record<string, string>>
}

export interface JoinMethod<E> {
  /** Also the name of its page in docs/join. */
  readonly name: JoinMethodName
  /** `bound`: the challenge is inside the evidence. `bearer`: whoever holds the evidence may use it (protocols.md 1.5). */
  readonly strength: 'bound' | 'bearer'
  /** What the challenge names the token by: `name`, which is public, or the hash of its `secret`. */
  readonly tokenBy: 'name' | 'secret'
  /** Parsed before verify() sees it; the size was capped before that. */
  readonly evidence: z.ZodType<E>
  /** From what the machine gave with its wish for a challenge. Throws ERR_INPUT_INVALID. Absent: nothing may be given. */
  open?(untrustedParams: unknown): Opening
  /** Throws ERR_JOIN_REFUSED whose `internal` is the exact reason. */
  verify(evidence: E, context: JoinContext): Promise<JoinFacts>
  /** Why the token's own rules do not admit these facts, for the audit log; undefined when they do. Absent: no such rules. */
  refusal?(token: JoinToken, facts: JoinFacts): string | undefined
}

/**
 * The commit of a join: the one transaction that makes an agent, or adds a service to it, and counts the token's use.
 * It runs after the evidence was verified and the rule matched, and before anything is signed (protocols.md 1).
 */
import type { Instant } from '../../core/clock.ts'
import type { Agent, ServiceIdentity } from '../../core/domain/agent.ts'
import type { ResourceKind, IdentityKind } from '../../core/domain/service.ts'
import type { JoinToken } from '../../core/domain/token.ts'
import type { AgentId, Thumbprint } from '../../core/ids.ts'
import type { BoundMove, Spend } from '../../core/join/join-method.ts'

/** A name that an agent takes for itself, for example its node name. */
export interface NameClaim {
  readonly kind: ResourceKind
  readonly name: string
}

export interface JoinCommit {
  /** As the caller read it; expiry, revocation and uses are checked again inside the transaction. */
  readonly token: JoinToken
  readonly now: Instant
  /** Thumbprint of the enrolment key, whose signature over this join was verified. */
  readonly enrolment: Thumbprint
  /** Used only if this enrolment key has no agent yet. Made by the server. */
  readonly newAgentId: AgentId
  readonly nodeName: string
  readonly service: IdentityKind
  /** Thumbprint of the service's key, whose signature over this join was verified. */
  readonly key: Thumbprint
  /** When the certificate about to be signed expires. */
  readonly certificateExpires: Instant
  /** Pin of the CA that signs it, and those of all that are trusted: a certificate of another one is worth nothing. */
  readonly ca: string
  readonly trustedCas: readonly string[]
  /** Taken by this join, all or none; `allowedNames` of the token is the caller's check. */
  readonly names: readonly NameClaim[]
  /** Bearer evidence that this join spends, all or none with the rest. `id` says which method's it is. */
  readonly spend?: Spend | undefined
  /** The bound keypair that this join registers or moves on, all or none with the rest. */
  readonly bound?: BoundMove | undefined
}

/** For the audit log. A caller learns only ERR_JOIN_REFUSED, ERR_NAME_TAKEN or ERR_KEY_ENROLLED. */
export type JoinRefusal =
  | 'used up'
  | 'expired'
  | 'revoked'
  /** Another agent holds one of the names; `name` says which. */
  | 'name taken'
  /** The service's or the enrolment key belongs to another agent or service. */
  | 'key enrolled'
  /** A lock on the agent is in force. */
  | 'locked'
  /** Another agent showed this evidence before. */
  | 'evidence spent'
  /** The join state that the evidence builds on has moved since it was read. */
  | 'state moved'
  /** This agent runs the service with another key whose certificate has not expired. */
  | 'service enrolled'

export type JoinOutcome =
  /** Committed now: a new agent (`newAgent`), or one more service of a known one. */
  | {
      readonly kind: 'joined'
      readonly newAgent: boolean
      readonly agent: Agent
      readonly identity: ServiceIdentity
    }
  /** The same keys joined this service before: the answer was lost. The same agent, nothing counted. */
  | { readonly kind: 'again'; readonly agent: Agent; readonly identity: ServiceIdentity }
  | {
      readonly kind: 'refused'
      readonly reason: JoinRefusal
      readonly name?: NameClaim | undefined
      /** Set when the enrolment key belongs to a known agent. */
      readonly agentId?: AgentId | undefined
    }

export interface JoinStore {
  /**
   * One TransactWriteItems: token counter with its condition (a check only, when uses are unlimited or this agent has
   * counted already), use row, names, keys, agent row and service row, each put if absent. Of N racing joins on a token
   * with one use exactly one is `joined`. Conflicts with other transactions are retried inside, with jitter; ERR_TIMEOUT
   * when they do not cease. A lock set while the commit is in flight takes effect at the next check, not here.
   */
  commit(join: JoinCommit): Promise<JoinOutcome>
}

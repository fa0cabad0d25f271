/** Agents, their service identities and what they announce. Agents are made by a join (join-store.ts), nowhere else. */
import type { Instant } from '../../core/clock.ts'
import type { Agent, ServiceIdentity } from '../../core/domain/agent.ts'
import type { NewEvent } from '../../core/domain/event.ts'
import type { Resource } from '../../core/domain/resource.ts'
import type { IdentityKind, ResourceKind, ServiceKind } from '../../core/domain/service.ts'
import type { AgentId, Thumbprint } from '../../core/ids.ts'
import type { NameClaim } from './join-store.ts'
import type { Page, PageRequest } from './page.ts'

export interface Renewal {
  readonly agentId: AgentId
  /** The token that let the agent in: a lock on it strikes the renewal. */
  readonly token: string
  readonly service: IdentityKind
  readonly now: Instant
  /** Generation in the agent's current, unexpired certificate. */
  readonly generation: number
  /** When that certificate was issued. */
  readonly issued: Instant
  /** The key that signed the request: the current certificate's. */
  readonly current: Thumbprint
  /** The key to certify next. */
  readonly next: Thumbprint
  readonly certificateExpires: Instant
  /** Pin of the CA that signs it. */
  readonly ca: string
  /** For the audit log, in the same transaction: it is there exactly when the outcome is `renewed`. */
  readonly event?: NewEvent | undefined
}

export type RenewalOutcome =
  /** Stored g was g: now g + 1 with both keys. */
  | { readonly kind: 'renewed'; readonly identity: ServiceIdentity }
  /** Stored g + 1 with the same two keys: the answer was lost, issue it again. Nothing written. */
  | { readonly kind: 'again'; readonly identity: ServiceIdentity }
  /** Any other generation or key: somebody else renewed this identity. The caller locks the agent. */
  | { readonly kind: 'copied'; readonly identity: ServiceIdentity }
  /** The next key belongs to another agent or service. */
  | { readonly kind: 'key enrolled' }
  | { readonly kind: 'locked' }
  /** Removed, or never there. */
  | { readonly kind: 'unknown' }

export type AnnounceOutcome =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'replaced' }
  /** Another agent holds this name; what was announced before stays as it was. */
  | { readonly kind: 'name taken'; readonly name: NameClaim }
  | { readonly kind: 'unknown agent' }

export interface AgentStore {
  /** Strongly consistent. */
  get(id: AgentId): Promise<Agent | undefined>
  /** Strongly consistent: every service identity of the agent. */
  identities(id: AgentId): Promise<ServiceIdentity[]>
  /** Eventually consistent. */
  list(page: PageRequest): Promise<Page<Agent>>
  /** The agents that hold this name: one, or several of a shared name. Strongly consistent. */
  holders(kind: ResourceKind, name: string): Promise<AgentId[]>
  /** Compare and set of the generation (protocols.md 2), one write request. Of two racing renewals of a copied identity one is `renewed`. */
  renew(renewal: Renewal): Promise<RenewalOutcome>
  /**
   * Replaces everything this service of the agent announced before. Reads one small row; writes only on change. Names of
   * nodes are exclusive; other names may be shared among agents whose tokens allow it. Repeatable after a failure: the row
   * that marks it as done is written last.
   */
  announce(
    id: AgentId,
    service: ServiceKind,
    resources: readonly Resource[],
  ): Promise<AnnounceOutcome>
  /**
   * Removes one service: its credential is void from now on, and every proxy hears of it (departure.ts); what it announced is gone.
   * The agent, its name and its other services stay. False when it had none.
   */
  removeService(agent: Agent, service: ServiceKind, now: Instant): Promise<boolean>
  /** Removes the agent, its identities, resources, names and keys. False when there was none. */
  remove(id: AgentId): Promise<boolean>
}

/** All the stores. A module takes the ones it needs: `Pick<Stores, 'tokens' | 'joins'>`. */
import type { AgentStore } from './agent-store.ts'
import type { ApiKeyStore } from './api-key-store.ts'
import type { BoundKeypairStore } from './bound-keypair-store.ts'
import type { CaStore } from './ca-store.ts'
import type { ClusterStore } from './cluster-store.ts'
import type { ConnectorStore } from './connector-store.ts'
import type { EventStore } from './event-store.ts'
import type { IdempotencyStore } from './idempotency-store.ts'
import type { JoinStore } from './join-store.ts'
import type { LockStore } from './lock-store.ts'
import type { PolicyStore } from './policy-store.ts'
import type { PresenceReader } from './presence-store.ts'
import type { ReplayStore } from './replay-store.ts'
import type { ResourceStore } from './resource-store.ts'
import type { RoleStore } from './role-store.ts'
import type { TokenStore } from './token-store.ts'
import type { UserStore } from './user-store.ts'

export interface Stores {
  readonly cluster: ClusterStore
  readonly cas: CaStore
  readonly tokens: TokenStore
  readonly joins: JoinStore
  readonly boundKeypairs: BoundKeypairStore
  readonly agents: AgentStore
  readonly resources: ResourceStore
  readonly presence: PresenceReader
  readonly roles: RoleStore
  readonly users: UserStore
  readonly locks: LockStore
  readonly policy: PolicyStore
  readonly apiKeys: ApiKeyStore
  readonly connectors: ConnectorStore
  readonly events: EventStore
  readonly idempotency: IdempotencyStore
  readonly replay: ReplayStore
}

/** Opens the stores over a DynamoDB client, real or embedded: the one place that knows how they are put together. */
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  ResourceInUseException,
  ResourceNotFoundException,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
  type CreateTableCommandInput,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb'
import { systemClock, type Clock } from '../../core/clock.ts'
import { systemRandom, type Random } from '../../core/random.ts'
import { createAgentStore } from './dynamo/agents.ts'
import { createApiKeyStore } from './dynamo/api-keys.ts'
import { createCaStore } from './dynamo/cas.ts'
import { createClusterStore } from './dynamo/clusters.ts'
import { createConnectorStore } from './dynamo/connectors.ts'
import { createCursors } from './dynamo/cursor.ts'
import { createEventStore } from './dynamo/events.ts'
import { createIdempotencyStore } from './dynamo/idempotency.ts'
import { createBoundKeypairStore } from './dynamo/join-proofs.ts'
import { createJoinStore } from './dynamo/joins.ts'
import { createLockStore } from './dynamo/locks.ts'
import { createPolicyStore } from './dynamo/policies.ts'
import { createPresenceStore } from './dynamo/presence.ts'
import { createReplayStore } from './dynamo/replays.ts'
import { createResourceStore } from './dynamo/resources.ts'
import { createRoleStore } from './dynamo/roles.ts'
import { createTableClient } from './dynamo/table-client.ts'
import { createTokenStore } from './dynamo/tokens.ts'
import { createUserStore } from './dynamo/users.ts'
import type { Stores } from './stores.ts'
import { TABLE_DEFINITION, TTL_ATTRIBUTE } from './table.ts'

export interface StoreOptions {
  readonly client: DynamoDBClient
  readonly tableName: string
  /** Makes cursors tamper-evident; the same for all processes that serve one list. At least 32 bytes. */
  readonly cursorKey: Uint8Array
  readonly clock?: Clock
  readonly random?: Random
}

export function openStores(options: StoreOptions): Stores {
  const { clock = systemClock, random = systemRandom } = options
  const table = createTableClient({ ...options, clock, random })
  const cursors = createCursors(options.cursorKey)
  const locks = createLockStore({ table })
  const roles = createRoleStore({ table })
  const users = createUserStore({ table })
  const events = createEventStore({ table, cursors, clock, random })
  const agents = createAgentStore({ table, cursors, locks, events })
  return {
    locks,
    roles,
    users,
    agents,
    cluster: createClusterStore({ table }),
    cas: createCaStore({ table }),
    tokens: createTokenStore({ table, cursors, clock }),
    joins: createJoinStore({ table, locks }),
    boundKeypairs: createBoundKeypairStore({ table }),
    resources: createResourceStore({ table, cursors, agents }),
    presence: createPresenceStore({ table }),
    policy: createPolicyStore({ table, clock, roles, users, locks }),
    apiKeys: createApiKeyStore({ table, cursors }),
    connectors: createConnectorStore({ table, cursors }),
    events,
    idempotency: createIdempotencyStore({ table }),
    replay: createReplayStore({ table }),
  }
}

/** Creates the table where there is none and turns on its time to live; harmless when it is there. */
export async function ensureTable(client: DynamoDBClient, tableName: string): Promise<void> {
  const name = { TableName: tableName }
  try {
    await client.send(new DescribeTableCommand(name))
  } catch (e) {
    if (!(e instanceof ResourceNotFoundException)) throw e
    try {
      // The definition is a constant; the SDK's types want lists that may be changed.
      const input = structuredClone(TABLE_DEFINITION) as unknown as CreateTableCommandInput
      await client.send(new CreateTableCommand({ ...input, ...name }))
    } catch (raced) {
      if (!(raced instanceof ResourceInUseException)) throw raced
    }
    await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 2 }, name)
  }
  const ttl = await client.send(new DescribeTimeToLiveCommand(name))
  const status = ttl.TimeToLiveDescription?.TimeToLiveStatus
  if (status === 'ENABLED' || status === 'ENABLING') return
  await client.send(
    new UpdateTimeToLiveCommand({
      ...name,
      TimeToLiveSpecification: { AttributeName: TTL_ATTRIBUTE, Enabled: true },
    }),
  )
}

/** A client of the table where it is not in this process: DynamoDB, or another machine part's `postern serve store`. */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import type { Clock } from '../../core/clock.ts'
import type { PresenceStore } from '../../core/domain/presence.ts'
import type { Random } from '../../core/random.ts'
import { createPresenceStore } from './dynamo/presence.ts'
import { createTableClient } from './dynamo/table-client.ts'
import type { StoreKey } from './embedded/signed-by.ts'
import { ensureTable, openStores } from './open.ts'
import type { Stores } from './stores.ts'
import type { TableAt } from './upkeep/scan.ts'

export interface RemoteTableOptions {
  readonly tableName: string
  readonly clock: Clock
  readonly random: Random
  /** Default: AWS_ENDPOINT_URL_DYNAMODB, else DynamoDB itself. */
  readonly endpoint?: string | undefined
  /** Default: AWS_REGION. */
  readonly region?: string | undefined
  /** Default: what the AWS SDK finds (environment, role of the task or instance, shared files). */
  readonly key?: StoreKey | undefined
}

/** Milliseconds: a store that does not answer must not hold up a lease. */
const CONNECT = 1000
const ANSWER = 4000

export interface RemoteTable {
  /** Makes the table where there is none. Rejects when the store cannot be reached. */
  ensure(): Promise<void>
  /** For the control plane. */
  stores(cursorKey: Uint8Array): Stores
  /** For its owner: backup, restore, migration. */
  at(): TableAt
  /** All that a proxy uses of it. */
  presence(): PresenceStore
  close(): void
}

export function openRemoteTable(options: RemoteTableOptions): RemoteTable {
  const { tableName, clock, random } = options
  const client = new DynamoDBClient({
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.region === undefined ? {} : { region: options.region }),
    ...(options.key && {
      credentials: { accessKeyId: options.key.id, secretAccessKey: options.key.secret },
    }),
    requestHandler: {
      connectionTimeout: CONNECT,
      requestTimeout: ANSWER,
      throwOnRequestTimeout: true,
    },
  })
  return {
    ensure: () => ensureTable(client, tableName),
    stores: (cursorKey) => openStores({ client, tableName, cursorKey, clock, random }),
    at: () => ({ client, tableName }),
    presence: () =>
      createPresenceStore({ table: createTableClient({ client, tableName, clock, random }) }),
    close: () => client.destroy(),
  }
}

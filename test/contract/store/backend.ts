/**
 * What the store's contract runs on: the embedded engine on disk, or the endpoint in POSTERN_TEST_DYNAMODB_ENDPOINT (DynamoDB
 * itself, or anything that speaks its protocol).
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import {
  embeddedClient,
  openEmbeddedStore,
  type EmbeddedOptions,
} from '../../../functions/store/embedded/open.ts'

export interface Backend {
  readonly client: DynamoDBClient
  readonly embedded: boolean
  close(): Promise<void>
}

const endpoint = process.env['POSTERN_TEST_DYNAMODB_ENDPOINT']

export async function openBackend(options: Omit<EmbeddedOptions, 'path'> = {}): Promise<Backend> {
  if (endpoint !== undefined) {
    const client = new DynamoDBClient({
      endpoint,
      region: process.env['AWS_REGION'] ?? 'us-east-1',
      ...(process.env['AWS_ACCESS_KEY_ID'] === undefined
        ? { credentials: { accessKeyId: 'test', secretAccessKey: 'test' } }
        : {}),
    })
    return { client, embedded: false, close: async () => client.destroy() }
  }
  const directory = await mkdtemp(join(tmpdir(), 'postern-store-'))
  const store = await openEmbeddedStore({ ...options, path: directory })
  const client = embeddedClient(store)
  return {
    client,
    embedded: true,
    async close() {
      client.destroy()
      await store.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

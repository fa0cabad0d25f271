/** A table with every kind of index, filled with a little, for the engine's conformance tests. */
import * as D from '@aws-sdk/client-dynamodb'
import { expect } from 'vitest'
import { openBackend } from './backend.ts'

export const S = (text: string) => ({ S: text })
export const N = (n: number) => ({ N: String(n) })
export type Attributes = Record<string, D.AttributeValue>

export interface EngineFixture {
  readonly c: D.DynamoDBClient
  readonly T: string
  put(item: Attributes, extra?: Partial<D.PutItemCommandInput>): Promise<D.PutItemCommandOutput>
  get(pk: string, sk: string): Promise<Attributes | undefined>
  close(): Promise<void>
}

/** The promise fails with an exception of this name; the exception. */
export const refused = async (p: Promise<unknown>, name: string): Promise<Error> => {
  const e = await p.then(
    () => new Error('it succeeded'),
    (e: unknown) => e as Error,
  )
  expect(e.name).toBe(name)
  return e
}

export async function openEngine(): Promise<EngineFixture> {
  const backend = await openBackend()
  const c = backend.client
  const T = `conformance-${process.pid}-${process.hrtime.bigint()}`
  const put: EngineFixture['put'] = (Item, extra = {}) =>
    c.send(new D.PutItemCommand({ TableName: T, Item, ...extra }))
  await c.send(
    new D.CreateTableCommand({
      TableName: T,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [
        ...['pk', 'sk', 'gpk', 'l1'].map((a) => ({
          AttributeName: a,
          AttributeType: 'S' as const,
        })),
        { AttributeName: 'gsk', AttributeType: 'N' },
      ],
      KeySchema: [
        { AttributeName: 'pk', KeyType: 'HASH' },
        { AttributeName: 'sk', KeyType: 'RANGE' },
      ],
      GlobalSecondaryIndexes: [
        {
          IndexName: 'gs1',
          KeySchema: [
            { AttributeName: 'gpk', KeyType: 'HASH' },
            { AttributeName: 'gsk', KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'ALL' },
        },
        {
          IndexName: 'gs2',
          KeySchema: [{ AttributeName: 'gpk', KeyType: 'HASH' }],
          Projection: { ProjectionType: 'KEYS_ONLY' },
        },
      ],
      LocalSecondaryIndexes: [
        {
          IndexName: 'ls1',
          KeySchema: [
            { AttributeName: 'pk', KeyType: 'HASH' },
            { AttributeName: 'l1', KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'ALL' },
        },
      ],
    }),
  )
  await D.waitUntilTableExists(
    { client: c, maxWaitTime: 30, minDelay: 1, maxDelay: 1 },
    { TableName: T },
  )
  await put({
    pk: S('a'),
    sk: S('1'),
    gpk: S('g'),
    gsk: N(5),
    n: N(1),
    l1: S('z'),
    m: { M: { x: N(1) } },
    l: { L: [N(1)] },
    ss: { SS: ['a', 'b'] },
    b: { B: new Uint8Array([1, 2]) },
    bo: { BOOL: true },
    nu: { NULL: true },
    es: S(''),
  })
  for (let i = 0; i < 30; i++)
    await put({
      pk: S('q'),
      sk: S(`s#${String(i).padStart(3, '0')}`),
      gpk: S('G'),
      gsk: N(i),
      data: S('x'),
    })
  return {
    c,
    T,
    put,
    async get(pk, sk) {
      const Key = { pk: S(pk), sk: S(sk) }
      return (await c.send(new D.GetItemCommand({ TableName: T, Key, ConsistentRead: true }))).Item
    },
    async close() {
      await c.send(new D.DeleteTableCommand({ TableName: T })).catch(() => {})
      await backend.close()
    },
  }
}

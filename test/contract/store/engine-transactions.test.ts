/** The engine does what DynamoDB does, seen through the AWS SDK: batches, transactions and races. */
import * as D from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { N, openEngine, refused, S, type Attributes, type EngineFixture } from './engine.ts'

let engine: EngineFixture
let c: D.DynamoDBClient
let T: string
beforeAll(async () => {
  engine = await openEngine()
  ;({ c, T } = engine)
})
afterAll(() => engine.close())
const put = (item: Attributes, extra?: Partial<D.PutItemCommandInput>) => engine.put(item, extra)
const get = (pk: string, sk: string) => engine.get(pk, sk)

describe('batches and transactions', () => {
  const many = (n: number) =>
    Array.from({ length: n }, (_, i) => ({
      PutRequest: { Item: { pk: S('bw'), sk: S(String(i)) } },
    }))
  test('25 items are written and read at once; 26 are refused', async () => {
    await c.send(new D.BatchWriteItemCommand({ RequestItems: { [T]: many(25) } }))
    const r = await c.send(
      new D.BatchGetItemCommand({
        RequestItems: { [T]: { Keys: many(25).map((x) => x.PutRequest.Item) } },
      }),
    )
    expect(r.Responses?.[T]).toHaveLength(25)
    await refused(
      c.send(new D.BatchWriteItemCommand({ RequestItems: { [T]: many(26) } })),
      'ValidationException',
    )
  })
  test('a transaction puts, updates, deletes and checks as one', async () => {
    await put({ pk: S('tx'), sk: S('gone') })
    await c.send(
      new D.TransactWriteItemsCommand({
        TransactItems: [
          {
            Put: {
              TableName: T,
              Item: { pk: S('tx'), sk: S('1') },
              ConditionExpression: 'attribute_not_exists(pk)',
            },
          },
          {
            Update: {
              TableName: T,
              Key: { pk: S('tx'), sk: S('2') },
              UpdateExpression: 'ADD c :o',
              ExpressionAttributeValues: { ':o': N(1) },
            },
          },
          { Delete: { TableName: T, Key: { pk: S('tx'), sk: S('gone') } } },
          {
            ConditionCheck: {
              TableName: T,
              Key: { pk: S('a'), sk: S('1') },
              ConditionExpression: 'attribute_exists(pk)',
            },
          },
        ],
      }),
    )
    const r = await c.send(
      new D.QueryCommand({
        TableName: T,
        ConsistentRead: true,
        KeyConditionExpression: 'pk = :p',
        ExpressionAttributeValues: { ':p': S('tx') },
      }),
    )
    expect(r.Items?.map((i) => i['sk']?.S)).toEqual(['1', '2'])
  })
  test('a cancelled transaction leaves nothing and says why, item by item', async () => {
    const e = (await refused(
      c.send(
        new D.TransactWriteItemsCommand({
          TransactItems: [
            { Put: { TableName: T, Item: { pk: S('never'), sk: S('9') } } },
            {
              Put: {
                TableName: T,
                Item: { pk: S('a'), sk: S('1') },
                ConditionExpression: 'attribute_not_exists(pk)',
                ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
              },
            },
          ],
        }),
      ),
      'TransactionCanceledException',
    )) as D.TransactionCanceledException
    expect(e.CancellationReasons?.map((r) => r.Code)).toEqual(['None', 'ConditionalCheckFailed'])
    expect(e.CancellationReasons?.[1]?.Item?.['n']).toEqual(N(1))
    expect(await get('never', '9')).toBeUndefined()
  })
  test('a client request token makes a repeat harmless and another request a mismatch', async () => {
    const send = (by: number) =>
      c.send(
        new D.TransactWriteItemsCommand({
          ClientRequestToken: `tok${process.pid}`,
          TransactItems: [
            {
              Update: {
                TableName: T,
                Key: { pk: S('once'), sk: S('t') },
                UpdateExpression: 'ADD c :o',
                ExpressionAttributeValues: { ':o': N(by) },
              },
            },
          ],
        }),
      )
    await send(1)
    await send(1)
    expect((await get('once', 't'))?.['c']).toEqual(N(1))
    await refused(send(2), 'IdempotentParameterMismatchException')
  })
  test('two operations on one item are refused', async () => {
    const Put = { TableName: T, Item: { pk: S('two'), sk: S('1') } }
    await refused(
      c.send(new D.TransactWriteItemsCommand({ TransactItems: [{ Put }, { Put }] })),
      'ValidationException',
    )
  })
  test('a transactional read sees several items at once', async () => {
    const r = await c.send(
      new D.TransactGetItemsCommand({
        TransactItems: [
          { Get: { TableName: T, Key: { pk: S('a'), sk: S('1') } } },
          { Get: { TableName: T, Key: { pk: S('nope'), sk: S('1') } } },
        ],
      }),
    )
    expect(r.Responses?.map((x) => x.Item?.['pk']?.S)).toEqual(['a', undefined])
  })
})

describe('races', () => {
  test('200 concurrent additions are all counted', async () => {
    await Promise.all(
      Array.from({ length: 200 }, () =>
        c.send(
          new D.UpdateItemCommand({
            TableName: T,
            Key: { pk: S('ctr'), sk: S('1') },
            UpdateExpression: 'ADD c :o',
            ExpressionAttributeValues: { ':o': N(1) },
          }),
        ),
      ),
    )
    expect((await get('ctr', '1'))?.['c']).toEqual(N(200))
  })
  test('of 100 concurrent puts if absent exactly one wins', async () => {
    const r = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) =>
        put(
          { pk: S('race'), sk: S('1'), i: N(i) },
          { ConditionExpression: 'attribute_not_exists(pk)' },
        ),
      ),
    )
    expect(r.filter((x) => x.status === 'fulfilled')).toHaveLength(1)
    for (const x of r)
      if (x.status === 'rejected')
        expect((x.reason as Error).name).toBe('ConditionalCheckFailedException')
  })
})

/** The engine does what DynamoDB does, seen through the AWS SDK: on the embedded engine, and on any endpoint given by environment. */
import * as D from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openBackend, type Backend } from './backend.ts'

const S = (text: string) => ({ S: text })
const N = (n: number) => ({ N: String(n) })

let backend: Backend
let c: D.DynamoDBClient
const T = `conformance-${process.pid}-${process.hrtime.bigint()}`
const put = (Item: Record<string, D.AttributeValue>, extra: Partial<D.PutItemCommandInput> = {}) =>
  c.send(new D.PutItemCommand({ TableName: T, Item, ...extra }))
const get = async (pk: string, sk: string) =>
  (
    await c.send(
      new D.GetItemCommand({ TableName: T, Key: { pk: S(pk), sk: S(sk) }, ConsistentRead: true }),
    )
  ).Item
const refused = async (p: Promise<unknown>, name: string): Promise<Error> => {
  const e = await p.then(
    () => new Error('it succeeded'),
    (e: unknown) => e as Error,
  )
  expect(e.name).toBe(name)
  return e
}

beforeAll(async () => {
  backend = await openBackend()
  c = backend.client
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
})
afterAll(async () => {
  await c.send(new D.DeleteTableCommand({ TableName: T })).catch(() => {})
  await backend.close()
})

describe('tables', () => {
  test('a table is described with its indexes and is listed', async () => {
    const { Table } = await c.send(new D.DescribeTableCommand({ TableName: T }))
    expect(Table?.TableStatus).toBe('ACTIVE')
    expect(Table?.GlobalSecondaryIndexes?.map((i) => i.IndexStatus)).toEqual(['ACTIVE', 'ACTIVE'])
    expect((await c.send(new D.ListTablesCommand({}))).TableNames).toContain(T)
  })
  test('a table that exists cannot be created again', async () => {
    await refused(
      c.send(
        new D.CreateTableCommand({
          TableName: T,
          BillingMode: 'PAY_PER_REQUEST',
          AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
          KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
        }),
      ),
      'ResourceInUseException',
    )
  })
  test('an unknown table is ResourceNotFoundException', async () => {
    await refused(
      c.send(new D.DescribeTableCommand({ TableName: `${T}x` })),
      'ResourceNotFoundException',
    )
    await refused(
      c.send(new D.GetItemCommand({ TableName: `${T}x`, Key: { pk: S('a'), sk: S('1') } })),
      'ResourceNotFoundException',
    )
  })
  test('a deleted table comes back empty', async () => {
    const name = `${T}-d`
    const create = () =>
      c.send(
        new D.CreateTableCommand({
          TableName: name,
          BillingMode: 'PAY_PER_REQUEST',
          AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
          KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
        }),
      )
    const there = { client: c, maxWaitTime: 30, minDelay: 1, maxDelay: 1 }
    await create()
    await D.waitUntilTableExists(there, { TableName: name })
    await c.send(new D.PutItemCommand({ TableName: name, Item: { pk: S('x') } }))
    await c.send(new D.DeleteTableCommand({ TableName: name }))
    await D.waitUntilTableNotExists(there, { TableName: name })
    await create()
    await D.waitUntilTableExists(there, { TableName: name })
    expect((await c.send(new D.ScanCommand({ TableName: name }))).Count).toBe(0)
    await c.send(new D.DeleteTableCommand({ TableName: name }))
  })
  test('time to live is configured and described', async () => {
    await c.send(
      new D.UpdateTimeToLiveCommand({
        TableName: T,
        TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
      }),
    )
    const { TimeToLiveDescription: d } = await c.send(
      new D.DescribeTimeToLiveCommand({ TableName: T }),
    )
    expect(d?.AttributeName).toBe('ttl')
    expect(['ENABLED', 'ENABLING']).toContain(d?.TimeToLiveStatus)
  })
})

describe('single items', () => {
  test('every attribute type survives', async () => {
    const item = await get('a', '1')
    expect(item).toMatchObject({
      b: { B: new Uint8Array([1, 2]) },
      bo: { BOOL: true },
      nu: { NULL: true },
      es: S(''),
    })
  })
  test('put if absent fails on a present item, with the old item when asked', async () => {
    const e = await refused(
      put(
        { pk: S('a'), sk: S('1') },
        {
          ConditionExpression: 'attribute_not_exists(pk)',
          ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
        },
      ),
      'ConditionalCheckFailedException',
    )
    expect(e).toBeInstanceOf(D.ConditionalCheckFailedException)
    expect((e as D.ConditionalCheckFailedException).Item?.['es']).toEqual(S(''))
  })
  test('an update sets, adds, removes and appends under a long condition', async () => {
    await put({
      pk: S('u'),
      sk: S('1'),
      n: N(1),
      l1: S('zz'),
      m: { M: { x: N(1) } },
      l: { L: [N(1)] },
      ss: { SS: ['a', 'b'] },
      bo: { BOOL: true },
    })
    const { Attributes } = await c.send(
      new D.UpdateItemCommand({
        TableName: T,
        Key: { pk: S('u'), sk: S('1') },
        UpdateExpression:
          'SET #n = if_not_exists(#n,:z) + :o, l = list_append(l,:l), m.y = :o REMOVE bo ADD ctr :o, ss :ss',
        ConditionExpression:
          '#n = :o AND contains(ss,:a) AND size(ss) >= :o AND begins_with(l1,:zz) AND attribute_type(#n,:tn) AND #n BETWEEN :z AND :o AND sk IN (:one,:two)',
        ExpressionAttributeNames: { '#n': 'n' },
        ExpressionAttributeValues: {
          ':z': N(0),
          ':o': N(1),
          ':l': { L: [N(2)] },
          ':ss': { SS: ['c'] },
          ':a': S('a'),
          ':zz': S('z'),
          ':tn': S('N'),
          ':one': S('1'),
          ':two': S('2'),
        },
        ReturnValues: 'ALL_NEW',
      }),
    )
    expect(Attributes).toMatchObject({
      n: N(2),
      ctr: N(1),
      m: { M: { x: N(1), y: N(1) } },
      l: { L: [N(1), N(2)] },
    })
    expect(Attributes?.['bo']).toBeUndefined()
    expect(Attributes?.['ss']?.SS?.toSorted()).toEqual(['a', 'b', 'c'])
  })
  test('an update whose condition fails changes nothing', async () => {
    await refused(
      c.send(
        new D.UpdateItemCommand({
          TableName: T,
          Key: { pk: S('a'), sk: S('1') },
          UpdateExpression: 'SET n = :o',
          ConditionExpression: 'n > :o AND NOT attribute_exists(zz)',
          ExpressionAttributeValues: { ':o': N(100) },
        }),
      ),
      'ConditionalCheckFailedException',
    )
    expect((await get('a', '1'))?.['n']).toEqual(N(1))
  })
  test.each([
    [
      'an unused value',
      { UpdateExpression: 'SET n = :o', ExpressionAttributeValues: { ':o': N(1), ':u': N(1) } },
    ],
    [
      'a reserved word',
      { UpdateExpression: 'SET status = :o', ExpressionAttributeValues: { ':o': N(1) } },
    ],
    [
      'a broken expression',
      { UpdateExpression: 'SET n = = :o', ExpressionAttributeValues: { ':o': N(1) } },
    ],
    [
      'a change of the key',
      { UpdateExpression: 'SET pk = :o', ExpressionAttributeValues: { ':o': S('x') } },
    ],
  ])('%s is ValidationException', async (_name, input) => {
    await refused(
      c.send(new D.UpdateItemCommand({ TableName: T, Key: { pk: S('a'), sk: S('1') }, ...input })),
      'ValidationException',
    )
  })
  test('an item above 400 KB is refused', async () => {
    await refused(
      put({ pk: S('big'), sk: S('1'), d: S('x'.repeat(410 * 1024)) }),
      'ValidationException',
    )
  })
  test('numbers keep 38 digits', async () => {
    const n = '12345678901234567890123456789012345678'
    await put({ pk: S('num'), sk: S('1'), n: { N: n } })
    expect((await get('num', '1'))?.['n']).toEqual({ N: n })
  })
  test.each(['ü', '💥', 'a/b', 'a~b', '~~', '日本', '#', '%23'])(
    'key %s is found as itself',
    async (k) => {
      await put({ pk: S(k), sk: S(k) })
      const r = await c.send(
        new D.QueryCommand({
          TableName: T,
          KeyConditionExpression: 'pk = :p AND sk = :p',
          ExpressionAttributeValues: { ':p': S(k) },
        }),
      )
      expect(r.Count).toBe(1)
    },
  )
  test('a read can be projected', async () => {
    const r = await c.send(
      new D.GetItemCommand({
        TableName: T,
        Key: { pk: S('a'), sk: S('1') },
        ProjectionExpression: 'pk,m.x,l[0]',
      }),
    )
    expect(r.Item).toEqual({ pk: S('a'), m: { M: { x: N(1) } }, l: { L: [N(1)] } })
  })
  test('delete returns what was there', async () => {
    await put({ pk: S('del'), sk: S('1'), v: S('x') })
    const r = await c.send(
      new D.DeleteItemCommand({
        TableName: T,
        Key: { pk: S('del'), sk: S('1') },
        ReturnValues: 'ALL_OLD',
      }),
    )
    expect(r.Attributes?.['v']).toEqual(S('x'))
    expect(await get('del', '1')).toBeUndefined()
  })
})

describe('queries and indexes', () => {
  async function all(input: Omit<D.QueryCommandInput, 'TableName'>) {
    const items: Record<string, D.AttributeValue>[] = []
    let pages = 0
    let start: Record<string, D.AttributeValue> | undefined
    do {
      const r = await c.send(
        new D.QueryCommand({ TableName: T, ...input, ExclusiveStartKey: start }),
      )
      items.push(...(r.Items ?? []))
      pages++
      start = r.LastEvaluatedKey
    } while (start)
    return { items, pages }
  }
  test('a prefix is read backwards in pages', async () => {
    const { items, pages } = await all({
      KeyConditionExpression: 'pk = :p AND begins_with(sk,:s)',
      ExpressionAttributeValues: { ':p': S('q'), ':s': S('s#') },
      ScanIndexForward: false,
      Limit: 7,
    })
    expect(items.map((i) => i['sk']?.S)).toEqual(
      Array.from({ length: 30 }, (_, i) => `s#${String(29 - i).padStart(3, '0')}`),
    )
    expect(pages).toBe(5)
  })
  test.each([
    ['<', '000,001,002'],
    ['<=', '000,001,002,003'],
  ])('a range with %s has the right end', async (op, expected) => {
    const { items } = await all({
      KeyConditionExpression: `pk = :p AND sk ${op} :s`,
      ExpressionAttributeValues: { ':p': S('q'), ':s': S('s#003') },
    })
    expect(items.map((i) => i['sk']?.S?.slice(2)).join()).toBe(expected)
  })
  test('an index is read between two numbers, in pages, filtered', async () => {
    const { items } = await all({
      IndexName: 'gs1',
      KeyConditionExpression: 'gpk = :p AND gsk BETWEEN :a AND :b',
      FilterExpression: 'attribute_exists(#d)',
      ExpressionAttributeNames: { '#d': 'data' },
      ExpressionAttributeValues: { ':p': S('G'), ':a': N(3), ':b': N(20) },
      Limit: 5,
    })
    expect(items.map((i) => Number(i['gsk']?.N))).toEqual(
      Array.from({ length: 18 }, (_, i) => i + 3),
    )
  })
  test('a keys-only index holds keys only', async () => {
    const { items } = await all({
      IndexName: 'gs2',
      KeyConditionExpression: 'gpk = :p',
      ExpressionAttributeValues: { ':p': S('g') },
    })
    expect(Object.keys(items[0] ?? {}).sort()).toEqual(['gpk', 'pk', 'sk'])
  })
  test('a local index is read', async () => {
    const { items } = await all({
      IndexName: 'ls1',
      KeyConditionExpression: 'pk = :p AND l1 > :x',
      ExpressionAttributeValues: { ':p': S('a'), ':x': S('a') },
    })
    expect(items).toHaveLength(1)
  })
  test('an index row follows its item: moved, then removed', async () => {
    await put({ pk: S('mv'), sk: S('1'), gpk: S('FROM'), gsk: N(1) })
    const count = async (p: string) =>
      (
        await all({
          IndexName: 'gs1',
          KeyConditionExpression: 'gpk = :p',
          ExpressionAttributeValues: { ':p': S(p) },
        })
      ).items.length
    const update = (UpdateExpression: string, extra = {}) =>
      c.send(
        new D.UpdateItemCommand({
          TableName: T,
          Key: { pk: S('mv'), sk: S('1') },
          UpdateExpression,
          ...extra,
        }),
      )
    await update('SET gpk = :p', { ExpressionAttributeValues: { ':p': S('TO') } })
    expect([await count('FROM'), await count('TO')]).toEqual([0, 1])
    await update('REMOVE gpk')
    expect(await count('TO')).toBe(0)
  })
  test('a scan in four segments sees every item once', async () => {
    const seen: string[] = []
    for (let Segment = 0; Segment < 4; Segment++) {
      const r = await c.send(
        new D.ScanCommand({
          TableName: T,
          Segment,
          TotalSegments: 4,
          FilterExpression: 'gpk = :g',
          ExpressionAttributeValues: { ':g': S('G') },
        }),
      )
      seen.push(...(r.Items ?? []).map((i) => i['sk']?.S ?? ''))
    }
    expect(new Set(seen).size).toBe(30)
    expect(seen).toHaveLength(30)
  })
})

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

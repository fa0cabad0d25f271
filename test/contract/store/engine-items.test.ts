/** The engine does what DynamoDB does, seen through the AWS SDK: tables and single items. */
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
  // DynamoDB compares them by their contents. What cannot be done alike must not look as if it were.
  test('a list or map in a comparison is compared, or refused aloud', async () => {
    const nested = { L: [S('a'), { M: { b: N(1) } }] }
    await put({ pk: S('nested'), sk: S('1'), nested })
    for (const condition of [
      'nested = :v',
      'NOT nested <> :v',
      'size(nested) = :n AND nested IN (:v)',
    ]) {
      const given = { ':v': nested, ...(condition.includes(':n') ? { ':n': N(2) } : {}) }
      const again = put(
        { pk: S('nested'), sk: S('1'), nested },
        { ConditionExpression: condition, ExpressionAttributeValues: given },
      )
      const outcome = again.then(
        () => 'compared',
        (e: Error) => `${e.name}: ${e.message}`,
      )
      expect(await outcome).toMatch(/^compared$|^ValidationException: .*compares no lists/)
    }
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

/** What the embedded engine promises beyond DynamoDB's own behaviour: its directory, its sweep, its patience with bad input. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openLevel } from '../../../functions/store/embedded/level.ts'
import { openEmbeddedStore } from '../../../functions/store/embedded/open.ts'
import { answer } from '../../../functions/store/embedded/request-handler.ts'
import { handClock } from '../../support/clock.ts'

const table = {
  TableName: 'things',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: ['pk', 'g'].map((a) => ({ AttributeName: a, AttributeType: 'S' })),
  KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
  GlobalSecondaryIndexes: [
    {
      IndexName: 'byG',
      KeySchema: [{ AttributeName: 'g', KeyType: 'HASH' }],
      Projection: { ProjectionType: 'ALL' },
    },
  ],
}
async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'postern-engine-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}
async function open(options: Parameters<typeof openEmbeddedStore>[0] = {}) {
  const store = await openEmbeddedStore(options)
  onTestFinished(() => store.close())
  return store
}

describe('the directory', () => {
  test('that another store holds is ERR_DATA_DIR_HELD and names it', async () => {
    const path = await directory()
    await open({ path })
    await expect(openEmbeddedStore({ path })).rejects.toMatchObject({
      code: 'ERR_DATA_DIR_HELD',
      message: expect.stringContaining(path) as string,
    })
  })
  test('keeps tables, items and time-to-live settings over a restart', async () => {
    const path = await directory()
    const first = await openEmbeddedStore({ path })
    await first.handle('CreateTable', table)
    await first.handle('PutItem', { TableName: 'things', Item: { pk: { S: 'a' } } })
    await first.handle('UpdateTimeToLive', {
      TableName: 'things',
      TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
    })
    await first.close()
    const second = await open({ path })
    const got = await second.handle('GetItem', { TableName: 'things', Key: { pk: { S: 'a' } } })
    expect(got['Item']).toEqual({ pk: { S: 'a' } })
    expect(await second.handle('DescribeTimeToLive', { TableName: 'things' })).toEqual({
      TimeToLiveDescription: { TimeToLiveStatus: 'ENABLED', AttributeName: 'ttl' },
    })
  })
  test.each([
    ['CREATING', 'ACTIVE'],
    ['DELETING', undefined],
  ])('with a table left %s is repaired at start', async (left, then) => {
    const path = await directory()
    const first = await openEmbeddedStore({ path })
    await first.handle('CreateTable', table)
    await first.handle('PutItem', { TableName: 'things', Item: { pk: { S: 'a' }, g: { S: 'x' } } })
    await first.close()
    const level = await openLevel(path)
    const row = JSON.parse(level.getSync('table~things') ?? '{}') as Record<string, unknown>
    const value = JSON.stringify({ ...row, TableStatus: left })
    await level.batch([{ type: 'put', key: 'table~things', value }], { sync: true })
    await level.close()
    const second = await open({ path })
    const described = await second.handle('ListTables', {})
    expect(described['TableNames']).toEqual(then ? ['things'] : [])
    if (then) await second.handle('PutItem', { TableName: 'things', Item: { pk: { S: 'b' } } })
    else {
      await second.handle('CreateTable', table)
      expect(
        (await second.handle('Scan', { TableName: 'things', IndexName: 'byG' }))['Count'],
      ).toBe(0)
    }
  })
})

test('the sweep deletes what expired, with its index rows, and nothing else', async () => {
  const clock = handClock()
  const store = await open({ clock })
  const now = Math.floor(clock.now() / 1000)
  await store.handle('CreateTable', table)
  const put = (pk: string, ttl?: unknown) =>
    store.handle('PutItem', {
      TableName: 'things',
      Item: { pk: { S: pk }, g: { S: 'x' }, ...(ttl === undefined ? {} : { ttl }) },
    })
  await put('expired', { N: String(now - 1) })
  await put('due now', { N: String(now) })
  await put('later', { N: String(now + 60) })
  await put('never')
  await put('text', { S: '1' })
  await put('wrong unit', { N: '1' })
  expect(await store.sweep()).toBe(0)
  await store.handle('UpdateTimeToLive', {
    TableName: 'things',
    TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
  })
  expect(await store.sweep()).toBe(1)
  clock.advance(61_000)
  expect(await store.sweep()).toBe(2)
  for (const IndexName of [undefined, 'byG']) {
    const left = await store.handle('Scan', {
      TableName: 'things',
      ...(IndexName ? { IndexName } : {}),
    })
    const keys = (left['Items'] as { pk: { S: string } }[]).map((i) => i.pk.S).sort()
    expect(keys).toEqual(['never', 'text', 'wrong unit'])
  }
})

test('a transaction that meets one on its way to disk is cancelled when asked to be like DynamoDB', async () => {
  const store = await open({ conflicts: 'refuse' })
  await store.handle('CreateTable', table)
  const Put = { TableName: 'things', Item: { pk: { S: 'a' } } }
  const transact = () => store.handle('TransactWriteItems', { TransactItems: [{ Put }] })
  const [first, second] = await Promise.allSettled([transact(), transact()])
  expect(first.status).toBe('fulfilled')
  expect(second).toMatchObject({
    reason: { body: { CancellationReasons: [{ Code: 'TransactionConflict' }] } },
  })
  await transact()
})

describe('bad input', () => {
  const Key = { pk: { S: 'a' } }
  test.each([
    ['no JSON', 'PutItem', '{', 'SerializationException'],
    ['null', 'PutItem', 'null', 'SerializationException'],
    ['a list', 'PutItem', '[]', 'SerializationException'],
    ['a text', 'GetItem', '"x"', 'SerializationException'],
    [
      'deep nesting',
      'PutItem',
      '['.repeat(100_000) + ']'.repeat(100_000),
      'SerializationException',
    ],
    ['an unknown operation', 'DropEverything', '{}', 'UnknownOperationException'],
    ['a name of Object.prototype', 'constructor', '{}', 'UnknownOperationException'],
    ['no table', 'PutItem', '{}', 'ValidationException'],
    ['a wrong type', 'PutItem', { TableName: 1, Item: {} }, 'SerializationException'],
    ['an empty value', 'PutItem', { TableName: 'things', Item: { pk: {} } }, 'ValidationException'],
    ['a missing key', 'GetItem', { TableName: 'things', Key: {} }, 'ValidationException'],
    ['no items', 'TransactWriteItems', {}, 'ValidationException'],
    [
      'items of a wrong kind',
      'TransactWriteItems',
      { TransactItems: [null] },
      'ValidationException',
    ],
    [
      'an unknown step',
      'TransactWriteItems',
      { TransactItems: [{ __proto__x: {} }] },
      'ValidationException',
    ],
    [
      'two steps in one',
      'TransactWriteItems',
      { TransactItems: [{ Put: {}, Delete: {} }] },
      'ValidationException',
    ],
    [
      '101 items',
      'TransactWriteItems',
      { TransactItems: Array.from({ length: 101 }, () => ({})) },
      'ValidationException',
    ],
    [
      'a wrong token',
      'TransactWriteItems',
      { ClientRequestToken: 5, TransactItems: [{ Delete: { TableName: 'things', Key } }] },
      'ValidationException',
    ],
    [
      'a get that is a put',
      'TransactGetItems',
      { TransactItems: [{ Put: {} }] },
      'ValidationException',
    ],
    [
      'a broken filter',
      'Scan',
      { TableName: 'things', FilterExpression: 'a = = b' },
      'ValidationException',
    ],
    [
      'a wrong start',
      'Query',
      {
        TableName: 'things',
        KeyConditionExpression: 'pk = :p',
        ExpressionAttributeValues: { ':p': { S: 'a' } },
        ExclusiveStartKey: { x: { S: '1' } },
      },
      'ValidationException',
    ],
    ['no specification', 'UpdateTimeToLive', { TableName: 'things' }, 'ValidationException'],
  ])('%s is answered, never a crash', async (_name, op, body, expected) => {
    const store = await open()
    await store.handle('CreateTable', table)
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const { statusCode, text: out } = await answer(
      (name, data) => store.handle(name, data),
      `DynamoDB_20120810.${op}`,
      text,
    )
    expect(statusCode).toBe(400)
    expect((JSON.parse(out) as { __type: string }).__type).toContain(expected)
  })
})

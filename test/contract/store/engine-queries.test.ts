/** The engine does what DynamoDB does, seen through the AWS SDK: queries and indexes. */
import * as D from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { N, openEngine, S, type Attributes, type EngineFixture } from './engine.ts'

let engine: EngineFixture
let c: D.DynamoDBClient
let T: string
beforeAll(async () => {
  engine = await openEngine()
  ;({ c, T } = engine)
})
afterAll(() => engine.close())
const put = (item: Attributes, extra?: Partial<D.PutItemCommandInput>) => engine.put(item, extra)

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

/** A remembered condition decides as a freshly parsed one: with the values, names and mistakes of its own request. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { openEmbeddedStore } from '../../../functions/store/embedded/open.ts'

async function things() {
  const store = await openEmbeddedStore()
  onTestFinished(() => store.close())
  await store.handle('CreateTable', {
    TableName: 'things',
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
    KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
  })
  const put = (n: number, more: object) =>
    store
      .handle('PutItem', {
        TableName: 'things',
        Item: { pk: { S: 'a' }, n: { N: String(n) } },
        ...more,
      })
      .then(
        () => 'done',
        (e: { kind?: string }) => e.kind,
      )
  return { store, put }
}
const is = (n: number, name = 'n') => ({
  ConditionExpression: 'attribute_not_exists(pk) OR #n = :n',
  ExpressionAttributeNames: { '#n': name },
  ExpressionAttributeValues: { ':n': { N: String(n) } },
})

describe('the second time', () => {
  test('its own values count, not those of the first', async () => {
    const { put } = await things()
    expect(await put(1, is(7))).toBe('done')
    expect(await put(2, is(7))).toBe('ConditionalCheckFailedException')
    expect(await put(2, is(1))).toBe('done')
    expect(await put(3, is(1))).toBe('ConditionalCheckFailedException')
  })
  test('its own names count', async () => {
    const { put } = await things()
    await put(1, is(1))
    expect(await put(1, is(1, 'other'))).toBe('ConditionalCheckFailedException')
  })
  test('an unused or undefined value is a mistake as before', async () => {
    const { put } = await things()
    await put(1, is(1))
    const more = { ':unused': { N: '1' } }
    const once = is(1)
    for (let i = 0; i < 2; i++)
      expect(
        await put(1, {
          ...once,
          ExpressionAttributeValues: { ...once.ExpressionAttributeValues, ...more },
        }),
      ).toBe('ValidationException')
    expect(await put(1, { ...once, ExpressionAttributeValues: undefined })).toBe(
      'ValidationException',
    )
  })
  test('a value that the update used before is still used by the condition alone', async () => {
    const { store } = await things()
    const update = (UpdateExpression: string, m: number) =>
      store.handle('UpdateItem', {
        TableName: 'things',
        Key: { pk: { S: 'b' } },
        UpdateExpression,
        ConditionExpression: 'attribute_not_exists(pk) OR c <> :v',
        ExpressionAttributeValues: { ':v': { N: String(m) } },
      })
    await update('SET c = :v', 1)
    await update('REMOVE d', 2)
    await expect(update('REMOVE d', 1)).rejects.toMatchObject({
      kind: 'ConditionalCheckFailedException',
    })
  })
  test.each([
    [{ N: '3' }, 'done'],
    [{ S: 'x' }, 'ConditionalCheckFailedException'],
  ])('a value of another type, %j, is parsed anew', async (value, expected) => {
    const { put } = await things()
    await put(3, {})
    const begins = (v: object) => ({
      ConditionExpression: 'n = :v',
      ExpressionAttributeValues: { ':v': v },
    })
    await put(3, begins({ BOOL: true }))
    expect(await put(3, begins(value))).toBe(expected)
  })
  test('bounds of BETWEEN are checked every time', async () => {
    const { put } = await things()
    await put(5, {})
    const between = (low: number, high: number) => ({
      ConditionExpression: 'n BETWEEN :l AND :h',
      ExpressionAttributeValues: { ':l': { N: String(low) }, ':h': { N: String(high) } },
    })
    expect(await put(5, between(1, 9))).toBe('done')
    expect(await put(5, between(9, 1))).toBe('ValidationException')
    expect(await put(5, between(6, 9))).toBe('ConditionalCheckFailedException')
  })
})

/** Idempotency-Key: a write that is repeated happens once and answers the same. */
import { afterAll, describe, expect, test } from 'vitest'
import { codeOf, itemsOf, openWorld, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())
const mint = (key: string, body: object = { roles: ['Node'] }) =>
  world.op('POST', '/v1/tokens', body, { 'idempotency-key': key })
const count = async () => itemsOf(await world.op('GET', '/v1/tokens?limit=500')).length

describe('a write with an Idempotency-Key', () => {
  test('that is repeated gives the same secret and makes one token', async () => {
    const before = await count()
    const first = await mint('key-1')
    const again = await mint('key-1')
    expect(again.status).toBe(201)
    expect(again.body).toEqual(first.body)
    expect(again.headers.get('idempotent-replay')).toBe('true')
    expect(await count()).toBe(before + 1)
  })
  test('for another request is refused', async () => {
    await mint('key-2')
    expect(codeOf(await mint('key-2', { roles: ['App'] }))).toBe('ERR_IDEMPOTENCY_MISMATCH')
  })
  test('sent twice at once happens once', async () => {
    const before = await count()
    const answers = await Promise.all(Array.from({ length: 8 }, () => mint('key-3')))
    expect(await count()).toBe(before + 1)
    for (const answer of answers) expect([201, 409]).toContain(answer.status)
  })
  test('that failed may be tried again', async () => {
    expect((await mint('key-4', { roles: ['Root'] })).status).toBe(400)
    expect((await mint('key-4')).status).toBe(201)
  })
  test('of one caller says nothing to another', async () => {
    const first = await mint('key-5')
    const ed = await world.user('ed', ['editor'])
    const other = await world.as(
      ed,
      'POST',
      '/v1/tokens',
      { roles: ['Node'] },
      { 'idempotency-key': 'key-5' },
    )
    expect(other.status).toBe(201)
    expect(other.body).not.toEqual(first.body)
  })
  test('works for answers without a body', async () => {
    await world.op('POST', '/v1/tokens', { name: 'once', roles: ['Node'] })
    const remove = () =>
      world.op('DELETE', '/v1/tokens/once', undefined, { 'idempotency-key': 'key-6' })
    expect([(await remove()).status, (await remove()).status]).toEqual([204, 204])
  })
  test.each(['', 'a b', 'x'.repeat(200)])('that is %j is refused', async (key) => {
    const answer = await mint(key)
    expect(codeOf(answer)).toBe('ERR_INPUT_INVALID')
  })
})

/** Idempotency-Key: a write that is repeated happens once and answers the same. */
import { afterAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../core/limits.ts'
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
  test('answers a repeat with the headers of the first: where the new thing is', async () => {
    const [first, again] = [await mint('key-headers'), await mint('key-headers')]
    expect(first.headers.get('location')).toMatch(/^\/v1\/tokens\//)
    expect(again.headers.get('location')).toBe(first.headers.get('location'))
    expect(again.headers.get('content-type')).toBe(first.headers.get('content-type'))
  })
  test('for another path or method is refused, and nothing happens', async () => {
    await mint('key-path')
    const headers = { 'idempotency-key': 'key-path' }
    const lock = await world.op('POST', '/v1/locks', { target: { user: 'x' } }, headers)
    expect(codeOf(lock)).toBe('ERR_IDEMPOTENCY_MISMATCH')
    const gone = await world.op('DELETE', '/v1/users/root-owner', undefined, headers)
    expect(codeOf(gone)).toBe('ERR_IDEMPOTENCY_MISMATCH')
    expect((await world.op('GET', '/v1/users/root-owner')).status).toBe(200)
    expect(itemsOf(await world.op('GET', '/v1/locks'))).toEqual([])
  })
  test('sent at once with different bodies: one happens, the others are told apart', async () => {
    const before = await count()
    const bodies = Array.from({ length: 8 }, (_, i) => ({ roles: ['Node'], name: `race-${i}` }))
    const answers = await Promise.all(bodies.map((body) => mint('key-race', body)))
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    for (const answer of answers.filter(({ status }) => status !== 201))
      expect(codeOf(answer)).toBe('ERR_IDEMPOTENCY_MISMATCH')
    expect(await count()).toBe(before + 1)
  })
  test('that runs is told with the time to wait, and is not run a second time', async () => {
    const answers = await Promise.all(Array.from({ length: 4 }, () => mint('key-wait')))
    for (const answer of answers.filter(({ status }) => status === 409)) {
      expect(codeOf(answer)).toBe('ERR_CONFLICT')
      expect(answer.headers.get('retry-after')).toBe('1')
    }
  })
  test('is forgotten after a day', async () => {
    const first = await mint('key-day')
    world.later(LIMITS.idempotencyTtl.value + 1000)
    expect((await mint('key-day')).body).not.toEqual(first.body)
  })
  test('of one API key says nothing to another key of the same owner', async () => {
    const scopes = [{ resources: ['token'], verbs: ['create'] }]
    const secretOf = async (name: string) =>
      ((await world.op('POST', '/v1/keys', { name, scopes })).body as { secret: string }).secret
    const [a, b] = [await secretOf('a'), await secretOf('b')]
    const by = (secret: string) =>
      world.call('POST', '/v1/tokens', {
        body: { roles: ['Node'] },
        headers: { authorization: `Bearer ${secret}`, 'idempotency-key': 'shared' },
      })
    const [first, second] = [await by(a), await by(b)]
    expect(second.status).toBe(201)
    expect(second.headers.get('idempotent-replay')).toBeNull()
    expect(second.body).not.toEqual(first.body)
  })
  test('is not answered to who may not call any more', async () => {
    const made = await world.op('POST', '/v1/keys', {
      name: 'revoked',
      scopes: [{ resources: ['token'], verbs: ['create'] }],
    })
    const { id, secret } = made.body as { id: string; secret: string }
    const headers = { authorization: `Bearer ${secret}`, 'idempotency-key': 'kept' }
    const send = () => world.call('POST', '/v1/tokens', { body: { roles: ['Node'] }, headers })
    expect((await send()).status).toBe(201)
    await world.op('DELETE', `/v1/keys/${id}`)
    expect(codeOf(await send())).toBe('ERR_UNAUTHENTICATED')
  })
  test('keeps no secret readable: what is stored of an answer is sealed', async () => {
    const { body } = await mint('key-sealed')
    const { secret } = body as { secret: string }
    const rows = JSON.stringify(await world.rows())
    expect(rows).toContain('key-sealed')
    expect(rows).not.toContain(secret)
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

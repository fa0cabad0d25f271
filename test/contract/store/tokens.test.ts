/** Join tokens: minted, found by secret or name, expired by the clock, revoked. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seconds } from '../../../core/clock.ts'
import { tokenState } from '../../../core/domain/token.ts'
import { minute, openFixture, type StoreFixture } from './stores.ts'

let f: StoreFixture
beforeAll(async () => {
  f = await openFixture()
})
afterAll(() => f.close())

test('a token is found by its secret hash and by its name, as it was made', async () => {
  const { token, hash } = await f.token({
    labels: { a: 'b' },
    forcedLabels: { constructor: 'x', env: 'prod' },
    suggestedLabels: { env: ['prod', 'dev'] },
    allowedNames: ['web-1'],
    description: 'for web',
  })
  expect(await f.stores.tokens.bySecretHash(hash)).toEqual(token)
  expect(await f.stores.tokens.byName(token.name)).toEqual(token)
  expect(token.allowedNames).toEqual(['web-1'])
})
test('an unknown secret or name is undefined', async () => {
  expect(await f.stores.tokens.bySecretHash(f.thumbprint())).toBeUndefined()
  expect(await f.stores.tokens.byName('nobody')).toBeUndefined()
})
test('a name in use is ERR_CONFLICT and the token that has it stays as it is', async () => {
  const { token, hash } = await f.token()
  await expect(f.token({ name: token.name })).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  expect(await f.stores.tokens.bySecretHash(hash)).toEqual(token)
})
test('an expired token gives its name up, and its old secret finds nothing', async () => {
  const { token, hash } = await f.token()
  f.advance(31 * minute)
  const next = await f.token({ name: token.name })
  expect(await f.stores.tokens.bySecretHash(hash)).toBeUndefined()
  expect(await f.stores.tokens.bySecretHash(next.hash)).toEqual(next.token)
})
test('a revoked token is gone by name, secret and list; a second revocation says so', async () => {
  const { token, hash } = await f.token()
  expect(await f.stores.tokens.revoke(token.name)).toEqual(token)
  expect(await f.stores.tokens.byName(token.name)).toBeUndefined()
  expect(await f.stores.tokens.bySecretHash(hash)).toBeUndefined()
  expect(await f.stores.tokens.revoke(token.name)).toBeUndefined()
})
test('expiry is a matter of the clock: the item may still be there, the list leaves it out', async () => {
  const { token } = await f.token()
  const names = async () =>
    (await f.stores.tokens.list({ limit: 500 }, f.now())).items.map((t) => t.name)
  expect(await names()).toContain(token.name)
  f.advance(30 * minute)
  expect(await names()).not.toContain(token.name)
  const found = await f.stores.tokens.byName(token.name)
  expect(found && tokenState(found, f.now())).toBe('expired')
})
test('no item of the table holds a secret, and every item names its entity and version', async () => {
  const { ScanCommand } = await import('@aws-sdk/client-dynamodb')
  const { token } = await f.token()
  const { Items } = await f.backend.client.send(new ScanCommand({ TableName: f.tableName }))
  for (const item of Items ?? []) {
    expect(item['entity']?.S, JSON.stringify(item)).toBeTruthy()
    expect(item['v']?.N).toBe('1')
  }
  expect(JSON.stringify(Items)).not.toContain('pst_join_')
  const mine = (Items ?? []).find((i) => i['pk']?.S === `TOKEN#${token.name}`)
  expect(Number(mine?.['ttl']?.N)).toBeGreaterThan(seconds(token.expires))
})

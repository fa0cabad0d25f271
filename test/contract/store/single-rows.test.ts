/** The stores of one row each: cluster, API keys, idempotency, things spent once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fromSeconds, plus, seconds } from '../../../core/clock.ts'
import type { OidcConnector } from '../../../core/domain/oidc-connector.ts'
import { newId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import type { ApiKey } from '../../../core/domain/api-key.ts'
import { minute, openFixture, type StoreFixture } from './stores.ts'

let f: StoreFixture
beforeAll(async () => {
  f = await openFixture()
})
afterAll(() => f.close())

describe('cluster', () => {
  const cas = (pem: string) => ({
    host: { x509: [pem], ssh: ['ecdsa-sha2-nistp256 AAAA'] },
    user: { x509: [], ssh: [] },
    policy: [{ kty: 'EC', crv: 'P-256', x: 'x', y: 'y' }],
  })
  test('of many first starts one makes the cluster, and all get its row', async () => {
    expect(await f.stores.cluster.get()).toBeUndefined()
    const all = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        f.stores.cluster.init({ id: `c${i}`, name: 'home', created: f.now(), cas: undefined }),
      ),
    )
    expect(new Set(all.map((c) => c.id)).size).toBe(1)
    expect(await f.stores.cluster.get()).toEqual(all[0])
  })
  test('CAs are replaced only by who knows the ones in place', async () => {
    const { cluster } = f.stores
    await cluster.replaceCas(undefined, cas('one'))
    await expect(cluster.replaceCas(undefined, cas('two'))).rejects.toMatchObject({
      code: 'ERR_CONFLICT',
    })
    await cluster.replaceCas(cas('one'), cas('two'))
    expect((await cluster.get())?.cas).toEqual(cas('two'))
  })
})

describe('API keys', () => {
  const key = (expires?: ApiKey['expires']): ApiKey => ({
    id: newId('key', f.now(), systemRandom),
    name: 'operator',
    owner: 'ann',
    scopes: [{ resources: ['token', '*'], verbs: ['create'] }],
    created: fromSeconds(seconds(f.now())),
    expires,
  })
  test('a key is found by its hash, listed, and gone when revoked', async () => {
    const [k, hash] = [key(), f.thumbprint()]
    await f.stores.apiKeys.create(k, hash)
    expect(await f.stores.apiKeys.byHash(hash, f.now())).toEqual(k)
    expect((await f.stores.apiKeys.list({}, f.now())).items).toContainEqual(k)
    await expect(f.stores.apiKeys.create(k, f.thumbprint())).rejects.toMatchObject({
      code: 'ERR_CONFLICT',
    })
    expect(await f.stores.apiKeys.get(k.id, f.now())).toEqual(k)
    expect(await f.stores.apiKeys.revoke(k.id)).toEqual(k)
    expect(await f.stores.apiKeys.revoke(k.id)).toBeUndefined()
    expect(await f.stores.apiKeys.get(k.id, f.now())).toBeUndefined()
    expect(await f.stores.apiKeys.byHash(hash, f.now())).toBeUndefined()
  })
  test('an expired key is absent, whether or not its item is still there', async () => {
    const [k, hash] = [key(plus(f.now(), minute)), f.thumbprint()]
    await f.stores.apiKeys.create(k, hash)
    f.advance(minute)
    expect(await f.stores.apiKeys.byHash(hash, f.now())).toBeUndefined()
    expect((await f.stores.apiKeys.list({}, f.now())).items).toEqual([])
    expect(await f.stores.apiKeys.get(k.id, f.now())).toBeUndefined()
  })
  test('of twenty revocations at once one has the key', async () => {
    const k = key()
    await f.stores.apiKeys.create(k, f.thumbprint())
    const all = await Promise.all(Array.from({ length: 20 }, () => f.stores.apiKeys.revoke(k.id)))
    expect(all.filter((one) => one !== undefined)).toEqual([k])
  })
})

describe('connectors', () => {
  const connector = (name: string, issuer = 'https://ci.example.com'): OidcConnector => ({
    name,
    description: undefined,
    issuer,
    audience: undefined,
    jwks: undefined,
    ca: undefined,
    rules: [{ claims: { team: ['web'], level: [2], main: [true] }, roles: ['minter'] }],
    created: fromSeconds(seconds(f.now())),
  })
  test('are found by name and by issuer, listed by name, and gone when removed', async () => {
    const { connectors } = f.stores
    const [a, b] = [connector('ci-b'), connector('ci-a')]
    expect(await connectors.put(a)).toBe('created')
    expect(await connectors.put(a)).toBe('unchanged')
    await connectors.put(b)
    expect(await connectors.get('ci-b')).toEqual(a)
    expect(await connectors.ofIssuer(a.issuer)).toEqual([b, a])
    expect(await connectors.list()).toEqual([b, a])
    expect(await connectors.remove('ci-a')).toBe(true)
    expect(await connectors.remove('ci-a')).toBe(false)
    expect(await connectors.ofIssuer(a.issuer)).toEqual([a])
  })
  test('of another issuer are not found by the one that they had', async () => {
    const { connectors } = f.stores
    const [first, second] = [f.fresh('https://one'), f.fresh('https://two')]
    await connectors.put(connector('moved', first))
    f.advance(minute)
    expect(await connectors.put(connector('moved', second))).toBe('replaced')
    expect(await connectors.ofIssuer(first)).toEqual([])
    const [moved] = await connectors.ofIssuer(second)
    expect(moved?.created).toBeLessThan(f.now())
  })
  test('are changed by racing writers one after the other: by issuer lies what lies by name', async () => {
    const { connectors } = f.stores
    const issuers = Array.from({ length: 8 }, () => f.fresh('https://race'))
    await Promise.allSettled(issuers.map((issuer) => connectors.put(connector('raced', issuer))))
    const now = await connectors.get('raced')
    const found = (await Promise.all(issuers.map((issuer) => connectors.ofIssuer(issuer)))).flat()
    expect(found).toEqual([now])
  })
})

describe('idempotency keys', () => {
  const key = (request = 'r1', principal = 'ann') => ({ principal, key: 'k', request })
  test('the first call runs, repeats get its answer, another request is a mismatch', async () => {
    const { idempotency: i } = f.stores
    expect(await i.start(key(), f.now())).toEqual({ kind: 'first' })
    expect(await i.start(key(), f.now())).toEqual({ kind: 'running' })
    expect(await i.start(key('r1', 'bob'), f.now())).toEqual({ kind: 'first' })
    const answer = { status: 201, body: '{}' }
    await i.finish(key(), answer, f.now())
    expect(await i.start(key(), f.now())).toEqual({ kind: 'done', answer })
    expect(await i.start(key('r2'), f.now())).toEqual({ kind: 'mismatch' })
    f.advance(LIMITS.idempotencyTtl.value)
    expect(await i.start(key('r2'), f.now())).toEqual({ kind: 'first' })
  })
  test('an abandoned or dead first call makes room for another', async () => {
    const { idempotency: i } = f.stores
    const k = { ...key(), key: 'dead' }
    await i.start(k, f.now())
    await i.abandon(k)
    expect(await i.start(k, f.now())).toEqual({ kind: 'first' })
    f.advance(2 * LIMITS.httpTimeout.value)
    expect(await i.start(k, f.now())).toEqual({ kind: 'first' })
  })
  test('of 50 calls at once one is the first', async () => {
    const k = { ...key(), key: 'race' }
    const all = await Promise.all(
      Array.from({ length: 50 }, () => f.stores.idempotency.start(k, f.now())),
    )
    expect(all.filter((s) => s.kind === 'first')).toHaveLength(1)
  })
})

// What it stops: a signed request or bearer evidence that is sent twice.
describe('things spent once', () => {
  test('of 50 attempts at once one succeeds; after expiry there is another', async () => {
    const until = plus(f.now(), minute)
    const spend = () => f.stores.replay.spend('jti', 'x', until, f.now())
    const all = await Promise.all(Array.from({ length: 50 }, spend))
    expect(all.filter(Boolean)).toHaveLength(1)
    expect(await f.stores.replay.spend('other', 'x', until, f.now())).toBe(true)
    f.advance(minute + 1000)
    expect(await spend()).toBe(true)
  })
})

/** The stores of one row each: cluster, API keys, idempotency, things spent once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fromSeconds, plus, seconds } from '../../../core/clock.ts'
import type { OidcConnector } from '../../../core/domain/oidc-connector.ts'
import type { CaState } from '../../../core/domain/ca.ts'
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
})

describe('a CA', () => {
  const state = (version: number, pin: string): CaState => ({
    kind: 'host',
    version,
    phase: 'standby',
    current: { ref: 'host', pin, created: fromSeconds(1), certificate: 'PEM', jwk: undefined },
    rotation: undefined,
    retired: ['sha256:0'],
    rotated: fromSeconds(2),
  })
  test('is put once, and comes back as it was', async () => {
    const { cas } = f.stores
    const all = await Promise.all(['a', 'b', 'c'].map((pin) => cas.init(state(1, pin))))
    expect(new Set(all.map((one) => one.current.pin)).size).toBe(1)
    expect(await cas.states()).toEqual([all[0]])
  })
  test('moves only from the state that was seen, and the policy with it', async () => {
    const { cas, policy } = f.stores
    const version = await policy.version()
    const moving: CaState = {
      ...state(2, 'd'),
      phase: 'update_servers',
      rotation: {
        mode: 'auto',
        grace: 1000,
        started: fromSeconds(3),
        since: fromSeconds(4),
        switched: fromSeconds(4),
        next: { ...state(1, 'e').current, certificate: undefined, jwk: { kty: 'EC', kid: 'k' } },
      },
    }
    await cas.replace(moving, 1)
    expect(await policy.version()).toBe(version + 1)
    await expect(cas.replace(state(2, 'x'), 1)).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
    await expect(cas.replace(state(1, 'x'), 0)).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
    expect(await policy.version()).toBe(version + 1)
    expect(await cas.states()).toEqual([moving])
  })
  test('as it was signed is replaced by newer ones only', async () => {
    const { cas } = f.stores
    await cas.publish({ version: 2, jws: 'two', links: ['one'] })
    await cas.publish({ version: 1, jws: 'one', links: [] })
    expect(await cas.signed()).toEqual({ version: 2, jws: 'two', links: ['one'] })
    await cas.publish({ version: 2, jws: 'two again', links: [] })
    expect((await cas.signed())?.jws).toBe('two again')
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

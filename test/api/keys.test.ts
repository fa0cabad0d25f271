/** API keys: shown once, hashed, scoped, expiring, worth no more than their owner, and enforced on every route. */
import { afterAll, describe, expect, test } from 'vitest'
import { fromSeconds, iso, plus, seconds } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import { OPERATIONS } from '../../functions/openapi/operations.ts'
import {
  codeOf,
  cursorOf,
  itemsOf,
  openWorld,
  pathsOf,
  type Answer,
  type World,
} from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())
const DAY = 86_400_000
const MINT = [{ resources: ['token'], verbs: ['create'] }]

interface Made {
  readonly id: string
  readonly secret: string
  readonly expires: string
}
const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` })
const by = (secret: string, method: string, path: string, body?: unknown): Promise<Answer> =>
  world.call(method, path, { body, headers: bearer(secret) })
let n = 0
const ask = (fields: object = {}) => ({ name: `key-${++n}`, scopes: MINT, ...fields })
async function make(fields: object = {}): Promise<Made> {
  const made = await world.op('POST', '/v1/keys', ask(fields))
  expect(made.status, made.text).toBe(201)
  return made.body as Made
}
interface EventItem {
  readonly type: string
  readonly actor: string
  readonly outcome: string
  readonly reason?: string
  readonly resource?: string
  readonly fields: Record<string, unknown>
}
const events = async (type: string): Promise<EventItem[]> =>
  itemsOf<EventItem>(await world.op('GET', `/v1/events?type=${type}&limit=50`))

describe('an API key', () => {
  test('is shown once, and does what its scopes say', async () => {
    const { id, secret } = await make({ name: 'ci' })
    expect(secret).toMatch(/^pst_key_[A-Za-z0-9_-]{43}$/)
    expect((await by(secret, 'POST', '/v1/tokens', { roles: ['Node'] })).status).toBe(201)
    const shown = await world.op('GET', `/v1/keys/${id}`)
    expect(shown.body).toMatchObject({ spec: { name: 'ci', owner: 'root-owner', scopes: MINT } })
    const all = await world.op('GET', '/v1/keys')
    expect(itemsOf(all).map((key) => key.metadata.name)).toContain(id)
    expect(all.text + shown.text).not.toContain(secret)
  })

  test('lives ninety days unless told otherwise, and a year at most', async () => {
    const made = await make()
    const end = plus(world.clock.now(), LIMITS.apiKeyTtlDefault.value)
    expect(made.expires).toBe(iso(fromSeconds(seconds(end))))
    expect(pathsOf(await world.op('POST', '/v1/keys', ask({ ttl: '367d' })))).toEqual(['ttl'])
    expect(pathsOf(await world.op('POST', '/v1/keys', ask({ ttl: '0s' })))).toEqual(['ttl'])
    expect((await make({ ttl: '366d' })).expires).toBeDefined()
  })

  test('that expired is nobody, and is not listed', async () => {
    const { id, secret } = await make({ ttl: '1h' })
    expect((await by(secret, 'GET', '/v1/whoami')).status).toBe(200)
    world.later(3_600_001)
    expect(codeOf(await by(secret, 'GET', '/v1/whoami'))).toBe('ERR_UNAUTHENTICATED')
    expect(codeOf(await world.op('GET', `/v1/keys/${id}`))).toBe('ERR_NOT_FOUND')
  })

  test('that was removed is refused at once', async () => {
    const { id, secret } = await make()
    expect((await world.op('DELETE', `/v1/keys/${id}`)).status).toBe(204)
    expect(codeOf(await by(secret, 'POST', '/v1/tokens', { roles: ['Node'] }))).toBe(
      'ERR_UNAUTHENTICATED',
    )
    expect((await world.op('DELETE', `/v1/keys/${id}`)).status).toBe(404)
  })

  test('is listed by pages', async () => {
    for (let i = 0; i < 3; i++) await make()
    const first = await world.op('GET', '/v1/keys?limit=2')
    expect(itemsOf(first)).toHaveLength(2)
    const next = await world.op('GET', `/v1/keys?limit=2&cursor=${cursorOf(first)}`)
    expect(itemsOf(next)[0]?.metadata.name).not.toBe(itemsOf(first)[0]?.metadata.name)
  })

  test.each([
    ['without scopes', { scopes: [] }, 'scopes'],
    [
      'with an unknown kind',
      { scopes: [{ resources: ['tokens'], verbs: ['*'] }] },
      'scopes.0.resources.0',
    ],
    [
      'with an unknown verb',
      { scopes: [{ resources: ['token'], verbs: ['write'] }] },
      'scopes.0.verbs.0',
    ],
    ['with an unknown field', { roles: ['editor'] }, 'roles'],
    ['without a name', { name: undefined }, 'name'],
    ['for a user that is not there', { owner: 'nobody' }, 'owner'],
  ])('%s is refused by name', async (_, fields, path) => {
    expect(pathsOf(await world.op('POST', '/v1/keys', ask(fields)))).toEqual([path])
  })
})

describe('a key is worth no more than', () => {
  test('its maker: a right that the maker lacks is refused by name, and audited', async () => {
    const { secret } = await make({ scopes: [{ resources: ['key', 'token'], verbs: ['create'] }] })
    for (const scopes of [
      [{ resources: ['token'], verbs: ['delete'] }],
      [{ resources: ['user'], verbs: ['create'] }],
      [{ resources: ['*'], verbs: ['create'] }],
      [{ resources: ['token'], verbs: ['*'] }],
    ]) {
      const answer = await by(secret, 'POST', '/v1/keys', ask({ scopes }))
      expect(codeOf(answer)).toBe('ERR_FORBIDDEN')
    }
    expect((await events('operator.refused'))[0]?.reason).toContain('token:*')
    expect((await by(secret, 'POST', '/v1/keys', ask())).status).toBe(201)
  })

  test('the key that made it, in time', async () => {
    const scopes = [{ resources: ['key', 'token'], verbs: ['create'] }]
    const parent = await make({ scopes, ttl: '1h' })
    const longer = await by(parent.secret, 'POST', '/v1/keys', ask({ ttl: '2h' }))
    expect(pathsOf(longer)).toEqual(['ttl'])
    const child = await by(parent.secret, 'POST', '/v1/keys', ask())
    expect((child.body as Made).expires).toBe(parent.expires)
  })

  test('its owner now: what is taken from the owner is taken from the key', async () => {
    await world.user('olga', ['editor'])
    const { secret } = await make({ owner: 'olga' })
    const mint = () => by(secret, 'POST', '/v1/tokens', { roles: ['Node'] })
    expect((await mint()).status).toBe(201)
    await world.user('olga', ['access'])
    expect(codeOf(await mint())).toBe('ERR_FORBIDDEN')
    await world.user('olga', ['editor'])
    expect((await mint()).status).toBe(201)
    await world.op('DELETE', '/v1/users/olga')
    expect(codeOf(await mint())).toBe('ERR_UNAUTHENTICATED')
  })

  test('its owner: a lock on the owner or on a role of the owner strikes it', async () => {
    await world.op('PUT', '/v1/roles/minter', {
      kind: 'role',
      version: 'v7',
      metadata: { name: 'minter' },
      spec: { allow: { rules: MINT } },
    })
    await world.user('lena', ['minter'])
    const { secret, id } = await make({ owner: 'lena' })
    const mint = () => by(secret, 'POST', '/v1/tokens', { roles: ['Node'] })
    for (const target of [{ user: 'lena' }, { role: 'minter' }]) {
      const lock = await world.op('POST', '/v1/locks', { target })
      expect(codeOf(await mint())).toBe('ERR_LOCKED')
      const [refused] = await events('operator.refused')
      expect(refused).toMatchObject({ outcome: 'refused', fields: { key: id } })
      const { name } = (lock.body as { metadata: { name: string } }).metadata
      await world.op('DELETE', `/v1/locks/${name}`)
      expect((await mint()).status).toBe(201)
    }
  })

  test('its owner: users make keys of their own, and of others only who may change users', async () => {
    await world.op('PUT', '/v1/roles/keys', {
      kind: 'role',
      version: 'v7',
      metadata: { name: 'keys' },
      spec: { allow: { rules: [{ resources: ['key', 'token'], verbs: ['create'] }] } },
    })
    const kim = await world.user('kim', ['keys'])
    await world.user('lee', ['editor'])
    const own = await world.as(kim, 'POST', '/v1/keys', ask())
    expect(own.body).toMatchObject({ owner: 'kim' })
    const other = await world.as(kim, 'POST', '/v1/keys', ask({ owner: 'lee' }))
    expect(codeOf(other)).toBe('ERR_FORBIDDEN')
  })
})

describe('the audit log', () => {
  test('names the key, its owner and its maker, and never its secret', async () => {
    const { id, secret } = await make({ name: 'audited' })
    const [created] = await events('key.create')
    expect(created).toMatchObject({
      actor: 'key/operator-root-owner',
      resource: `key/${id}`,
      fields: { name: 'audited', for: 'root-owner', scopes: ['token:create'] },
    })
    await by(secret, 'POST', '/v1/tokens', { roles: ['Node'] })
    const [minted] = await events('token.create')
    expect(minted).toMatchObject({
      actor: 'key/audited',
      fields: { key: id, owner: 'root-owner' },
    })
    await world.op('DELETE', `/v1/keys/${id}`)
    expect((await events('key.delete'))[0]).toMatchObject({ resource: `key/${id}` })
    const log = await world.op('GET', '/v1/events?limit=500')
    expect(log.text).not.toContain(secret)
  })

  test('has what a key was refused, and why', async () => {
    const { secret } = await make({ name: 'curious' })
    await by(secret, 'GET', '/v1/users')
    const [refused] = await events('operator.refused')
    expect(refused).toMatchObject({
      actor: 'key/curious',
      outcome: 'refused',
      reason: 'may not list user',
      fields: { call: 'GET /v1/users' },
    })
  })
})

// One choke point for each route would not help if a route forgot it: every operation of the table is called with a key that may do nothing there.
describe('a key without the right', () => {
  const values: Readonly<Record<string, string>> = { name: 'x', id: `ky_${'0'.repeat(26)}` }
  const guarded = OPERATIONS.filter(({ who }) => who !== 'anyone')
  test.each(guarded.map((o) => [`${o.method.toUpperCase()} ${o.path}`, o] as const))(
    'is refused by %s',
    async (_, { method, path }) => {
      const { secret } = await make({ scopes: [{ resources: ['event'], verbs: ['read'] }] })
      const url = path.replaceAll(/\{(\w+)\}/g, (_all, name: string) => values[name] ?? 'x')
      const body = ['post', 'put'].includes(method) ? {} : undefined
      const answer = await by(secret, method.toUpperCase(), url, body)
      if (path === '/v1/whoami') return expect(answer.status).toBe(200)
      expect([403, 404], answer.text).toContain(answer.status)
    },
  )
})

describe('a key leaves nothing behind', () => {
  test('but a hash: neither the secret nor a prefix of it is in the table', async () => {
    const { secret } = await make()
    const rows = await world.rows()
    expect(rows.length).toBeGreaterThan(10)
    expect(JSON.stringify(rows)).not.toContain(secret.slice(8, 24))
  })
  test('and its ttl tidies the row away after it expired', async () => {
    const { id } = await make({ ttl: '1h' })
    const row = (await world.rows()).find((item) => item['id'] === id)
    expect(Number(row?.['ttl'])).toBe(Math.floor(world.clock.now() / 1000) + 3600 + DAY / 1000)
  })
})

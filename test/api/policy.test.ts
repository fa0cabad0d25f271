/** The signed policy: the same bytes for a version, fresh stamps, everything an agent needs to decide. */
import { createHash, createPublicKey } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import {
  FRESHNESS_HEADER,
  FRESHNESS_TYP,
  freshnessAnswer,
  POLICY_TYP,
  policyAnswer,
} from '../../core/api/policy.ts'
import { jwsVerify } from '../../core/certs/jws.ts'
import { freshness, type Policy } from '../../core/domain/policy.ts'
import { joined, mint } from './support/machine.ts'
import { openWorld, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())
const agent = await joined(world, { secret: await mint(world), node: 'web-1' })
const proxy = await world.proxy()

const keys = world.plane.caBundle.policy.map((jwk) =>
  createPublicKey({ key: { ...jwk } as never, format: 'jwk' }),
)
const verify = async (token: string, typ: string): Promise<unknown> =>
  (await jwsVerify(token, { keys, algorithms: ['ES256'], typ, maxBytes: 1e6 })).payload
const get = (headers: Record<string, string> = {}, who = proxy) =>
  world.as(who, 'GET', '/v1/policy', undefined, headers)
const policyOf = async (): Promise<Policy> =>
  (await verify(policyAnswer.parse((await get()).body).policy, POLICY_TYP)) as Policy

describe('the policy', () => {
  test('names roles, users, locks and CAs, signed by the policy key', async () => {
    await world.user('ann', ['access'])
    await world.op('POST', '/v1/locks', { target: { user: 'mallory' } })
    const policy = await policyOf()
    expect(policy).toMatchObject({ cluster: 'test.internal', users: { ann: ['access'] } })
    expect(policy.roles.map((role) => role.name)).toContain('editor')
    expect(policy.locks.map((lock) => lock.target)).toContainEqual({
      kind: 'user',
      user: 'mallory',
    })
    expect(policy.cas).toEqual(world.plane.caBundle)
  })
  test('is the same for agents and proxies, byte for byte', async () => {
    const [one, two] = [await get({}, agent), await get({}, proxy)]
    expect(policyAnswer.parse(one.body).policy).toBe(policyAnswer.parse(two.body).policy)
  })
  test('is 304 while nothing changed, with a stamp all the same', async () => {
    const first = await get()
    const etag = first.headers.get('etag') ?? ''
    const second = await get({ 'if-none-match': etag })
    expect(second.status).toBe(304)
    expect(second.text).toBe('')
    expect(await verify(second.headers.get(FRESHNESS_HEADER) ?? '', FRESHNESS_TYP)).toBeTruthy()
  })
  test.each([
    ['a lock', () => world.op('POST', '/v1/locks', { target: { user: 'eve' } })],
    ['a user', () => world.user('fay', ['access'])],
    ['a removed user', () => world.op('DELETE', '/v1/users/fay')],
  ])('has a higher version after %s', async (_, change) => {
    const before = await policyOf()
    await change()
    const after = await policyOf()
    expect(after.version).toBeGreaterThan(before.version)
  })
  test('is made anew before it runs out', async () => {
    const before = await policyOf()
    world.later(4 * 24 * 3_600_000)
    const fresh = await world.proxy()
    const answer = await world.as(fresh, 'GET', '/v1/policy')
    const after = (await verify(policyAnswer.parse(answer.body).policy, POLICY_TYP)) as Policy
    expect(after.version).toBe(before.version + 1)
    expect(after.expires).toBeGreaterThan(before.expires)
  })
})

describe('the freshness stamp', () => {
  test('names version and digest of the policy, and is shared for a minute', async () => {
    const who = await world.proxy()
    const take = async () => policyAnswer.parse((await world.as(who, 'GET', '/v1/policy')).body)
    const one = await take()
    const stamp = freshness.parse(await verify(one.freshness, FRESHNESS_TYP))
    const payload = Buffer.from(one.policy.split('.')[1] ?? '', 'base64url')
    expect(stamp).toMatchObject({
      cluster: 'test.internal',
      version: one.version,
      digest: createHash('sha256').update(payload).digest('base64url'),
    })
    world.later(59_000)
    expect((await take()).freshness).toBe(one.freshness)
    world.later(2_000)
    const later = await take()
    expect(later.freshness).not.toBe(one.freshness)
    expect(later.policy).toBe(one.policy)
    const alone = await world.as(who, 'GET', '/v1/policy/freshness')
    expect(alone.body).toEqual({ version: later.version, freshness: later.freshness })
  })
  // Proxies ask for nothing else, day and night: what it is answered from must not lag behind, nor let the document run out.
  test('asked for alone names a change at once, and has the document made anew before it runs out', async () => {
    const alone = async () => {
      const { body } = await world.as(await world.proxy(), 'GET', '/v1/policy/freshness')
      const { freshness: token } = freshnessAnswer.parse(body)
      return freshness.parse(await verify(token, FRESHNESS_TYP))
    }
    const before = await alone()
    await world.user('gil', ['access'])
    const after = await alone()
    expect(after.version).toBe(before.version + 1)
    expect(after.digest).not.toBe(before.digest)
    world.later(61_000)
    expect(await alone()).toMatchObject({ version: after.version, digest: after.digest })
    world.later(4 * 24 * 3_600_000)
    expect((await alone()).version).toBe(after.version + 1)
  })
})

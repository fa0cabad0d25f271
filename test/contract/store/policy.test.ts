/** Roles, users, locks and the version that every change of them bumps. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fromSeconds, plus, seconds } from '../../../core/clock.ts'
import type { Lock } from '../../../core/domain/lock.ts'
import type { Role } from '../../../core/domain/role.ts'
import type { User } from '../../../core/domain/user.ts'
import { newId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { minute, openFixture, type StoreFixture } from './stores.ts'

let f: StoreFixture
beforeAll(async () => {
  f = await openFixture()
})
afterAll(() => f.close())

const side = { logins: [], nodeLabels: undefined, appLabels: undefined, rules: [] }
const role = (name: string, login = 'ann'): Role => ({
  name,
  allow: {
    ...side,
    logins: [login, '{{internal.logins}}'],
    nodeLabels: { '*': ['*'], env: ['prod', 'dev'] },
    rules: [{ resources: ['*'], verbs: ['list', 'read'] }],
  },
  deny: side,
  options: {
    maxSessionTtl: 3_600_000,
    forwardAgent: false,
    localForwarding: true,
    remoteForwarding: false,
    fileCopy: true,
    idleTimeout: undefined,
    maxSessions: 3,
    lock: 'strict',
  },
})
const options = (maxSessions: number) => ({ ...role('x').options, maxSessions })
const user = (name: string, roles = ['ops']): User => ({
  name,
  roles,
  traits: { logins: ['ann', 'root'] },
  created: fromSeconds(seconds(f.now())),
})
const lock = (target: Lock['target'], expires?: Lock['expires']): Lock => ({
  id: newId('lock', f.now(), systemRandom),
  target,
  message: 'stolen laptop',
  created: f.now(),
  createdBy: 'ann',
  expires,
})
const version = () => f.stores.policy.version()
/** How far `change` moves the version. */
const bumps = async (change: () => Promise<unknown>) => {
  const before = await version()
  await change()
  return (await version()) - before
}

test('a role is stored whole; putting it again as it is writes nothing and keeps the version', async () => {
  const { roles } = f.stores
  expect(await bumps(async () => expect(await roles.put(role('ops'))).toBe('created'))).toBe(1)
  expect(await roles.get('ops')).toEqual(role('ops'))
  expect(await bumps(async () => expect(await roles.put(role('ops'))).toBe('unchanged'))).toBe(0)
  expect(
    await bumps(async () => expect(await roles.put(role('ops', 'bob'))).toBe('replaced')),
  ).toBe(1)
  await roles.put(role('dev'))
  expect((await roles.list()).map((r) => r.name)).toEqual(['dev', 'ops'])
  expect(await bumps(async () => expect(await roles.remove('dev')).toBe(true))).toBe(1)
  expect(await bumps(async () => expect(await roles.remove('dev')).toBe(false))).toBe(0)
  expect(await roles.get('dev')).toBeUndefined()
})
test('a user keeps its first creation time; its password goes with it', async () => {
  const { users } = f.stores
  const ann = user('ann@example.com')
  expect(await bumps(() => users.put(ann))).toBe(1)
  await users.setPasswordHash(ann.name, 'scrypt$1')
  expect(await users.passwordHash(ann.name)).toBe('scrypt$1')
  f.advance(minute)
  expect(await users.put({ ...ann, created: f.now() })).toBe('unchanged')
  expect(await users.put({ ...user(ann.name, ['dev']) })).toBe('replaced')
  expect(await users.get(ann.name)).toEqual({ ...ann, roles: ['dev'] })
  expect((await users.list()).map((u) => u.name)).toEqual([ann.name])
  expect(await users.remove(ann.name)).toBe(true)
  expect(await users.passwordHash(ann.name)).toBeUndefined()
  expect(await users.remove(ann.name)).toBe(false)
})
test('a password of an unknown user is ERR_NOT_FOUND and leaves nothing', async () => {
  await expect(f.stores.users.setPasswordHash('nobody', 'x')).rejects.toMatchObject({
    code: 'ERR_NOT_FOUND',
  })
  expect(await f.stores.users.passwordHash('nobody')).toBeUndefined()
})
test('a lock is found by id, in the list and by whom it strikes, until it expires', async () => {
  const { locks } = f.stores
  const target = { kind: 'user', user: 'eve' } as const
  const one = lock(target, plus(f.now(), minute))
  const two = lock({ kind: 'agent', agent: f.agentId() })
  expect(await bumps(() => locks.create(one))).toBe(1)
  await locks.create(two)
  expect(await locks.get(one.id, f.now())).toEqual(one)
  expect(await locks.on(target, f.now())).toEqual([one])
  expect(await locks.on({ kind: 'user', user: 'ev' }, f.now())).toEqual([])
  expect(await locks.list(f.now())).toEqual(expect.arrayContaining([one, two]))
  await expect(locks.create(one)).rejects.toMatchObject({ code: 'ERR_CONFLICT' })
  f.advance(minute)
  expect(await locks.get(one.id, f.now())).toBeUndefined()
  expect(await locks.on(target, f.now())).toEqual([])
  expect(await locks.list(f.now())).toEqual([two])
  expect(await bumps(async () => expect(await locks.remove(two.id)).toBe(true))).toBe(1)
  expect(await locks.remove(two.id)).toBe(false)
  expect(await locks.list(f.now())).toEqual([])
})
test('fifty changes at once bump the version fifty times', async () => {
  const names = Array.from({ length: 50 }, () => f.fresh('role'))
  expect(await bumps(() => Promise.all(names.map((n) => f.stores.roles.put(role(n)))))).toBe(50)
})
test('a snapshot is never older than its version says, also while changes come in', async () => {
  const { policy, roles } = f.stores
  const name = f.fresh('moving')
  const start = await version()
  const writes = (async () => {
    for (let i = 1; i <= 30; i++) await roles.put({ ...role(name), options: options(i) })
  })()
  for (let i = 0; i < 5; i++) {
    const seen = await policy.snapshot(f.now())
    const moving = seen.roles.find((r) => r.name === name)
    expect(moving?.options.maxSessions ?? 0).toBeGreaterThanOrEqual(seen.version - start)
  }
  await writes
  const calm = await policy.snapshot(f.now())
  expect(calm.version).toBe(start + 30)
  expect(calm.roles.find((r) => r.name === name)?.options.maxSessions).toBe(30)
})

describe('what was signed', () => {
  const signed = (v: number, text = 'x', digest = `d${v}`) => ({ version: v, digest, jws: text })
  test('a document of 4 MB is published and read back', async () => {
    const big = signed(10, 'ä0123456'.repeat(400_000).replaceAll('ä', 'a'))
    expect(await f.stores.policy.publish(big)).toEqual(big)
    expect(await f.stores.policy.signed()).toEqual(big)
  })
  test('the first document of a version wins for everybody', async () => {
    const all = await Promise.all(
      Array.from({ length: 10 }, (_, i) => f.stores.policy.publish(signed(11, `t${i}`, `d${i}`))),
    )
    expect(new Set(all.map((p) => p.jws)).size).toBe(1)
    expect(await f.stores.policy.signed()).toEqual(all[0])
  })
  test('an older version never replaces a newer one', async () => {
    await f.stores.policy.publish(signed(13))
    expect(await f.stores.policy.publish(signed(12))).toEqual(signed(13))
    expect(await f.stores.policy.signed()).toEqual(signed(13))
  })
  test('a freshness stamp moves forward only', async () => {
    const stamp = (v: number, ms: number) => ({
      version: v,
      issued: fromSeconds(seconds(plus(f.now(), ms))),
      jws: `${v}.${ms}`,
    })
    const { policy } = f.stores
    expect(await policy.publishFreshness(stamp(5, 0))).toEqual(stamp(5, 0))
    expect(await policy.publishFreshness(stamp(5, -minute))).toEqual(stamp(5, 0))
    expect(await policy.publishFreshness(stamp(4, minute))).toEqual(stamp(5, 0))
    expect(await policy.publishFreshness(stamp(5, minute))).toEqual(stamp(5, minute))
    expect(await policy.freshness()).toEqual(stamp(5, minute))
  })
})

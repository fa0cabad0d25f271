/** The agent's view of the policy: only the policy key speaks, never backwards, and a restart does not make it forget. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createPolicyKeeper, type PolicyKeeper } from '../../../agent/policy/keeper.ts'
import { createPolicyRefresh } from '../../../agent/policy/refresh.ts'
import type { UserIdentity } from '../../../agent/services/service.ts'
import { FRESHNESS_TYP, POLICY_TYP } from '../../../core/api/policy.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import { generateKey, keySigner, type Signer } from '../../../core/certs/signer.ts'
import { toPem } from '../../../core/certs/x509-read.ts'
import { plus, seconds } from '../../../core/clock.ts'
import type { Lock } from '../../../core/domain/lock.ts'
import type { Policy } from '../../../core/domain/policy.ts'
import { roleResource, toRole } from '../../../core/domain/role.ts'
import { AppError } from '../../../core/errors.ts'
import type { LockId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { AGENT_ID, CLUSTER, HOUR, makeCa, type Ca } from '../../support/pki.ts'
import { recordingLog } from '../../support/recording-log.ts'

let clock: HandClock
let dir: string
let key: Signer
let userCa: Ca
let keeper: PolicyKeeper
const log = recordingLog()

const jwk = (signer: Signer) => signer.publicKey.export({ format: 'jwk' }) as { kty: string }
const role = (name: string, lock: 'strict' | 'best_effort' = 'best_effort') =>
  toRole(
    roleResource.parse({
      kind: 'role',
      version: 'v7',
      metadata: { name },
      spec: { allow: { app_labels: { '*': '*' } }, options: { lock } },
    }),
  )

const document = (version: number, change: Partial<Policy> = {}): Policy => ({
  cluster: CLUSTER,
  version,
  issued: seconds(clock.now()),
  expires: seconds(clock.now()) + 24 * 3600,
  roles: [role('access'), role('careful', 'strict')],
  users: { ann: ['access', 'careful'] },
  locks: [],
  cas: {
    host: { x509: [], ssh: [] },
    user: { x509: [toPem(userCa.certificate.raw)], ssh: [] },
    policy: [jwk(key)],
  },
  ...change,
})
const sign = (policy: Policy, by = key): Promise<string> => jwsSign(by, { typ: POLICY_TYP }, policy)
const stamp = (policy: Policy, issued = clock.now(), by = key): Promise<string> =>
  jwsSign(
    by,
    { typ: FRESHNESS_TYP },
    {
      cluster: CLUSTER,
      version: policy.version,
      digest: createHash('sha256').update(JSON.stringify(policy)).digest('base64url'),
      issued: seconds(issued),
    },
  )

const ann = (roles = ['access']): UserIdentity => ({
  kind: 'user',
  cluster: CLUSTER,
  user: 'ann',
  roles,
  logins: [],
  traits: {},
  expires: plus(clock.now(), HOUR),
})
const want = { kind: 'app' as const, labels: {} }

async function opened(): Promise<PolicyKeeper> {
  const made = createPolicyKeeper({ dataDir: dir, clock, random: systemRandom, log })
  await made.load()
  await made.anchor({ cluster: CLUSTER, agentId: AGENT_ID, keys: [jwk(key)] })
  return made
}

beforeEach(async () => {
  clock = handClock()
  dir = mkdtempSync(join(tmpdir(), 'postern-policy-'))
  key = keySigner(generateKey().privateKey)
  userCa = await makeCa('user CA')
  keeper = await opened()
})
afterEach(async () => {
  await keeper.saved()
  rmSync(dir, { recursive: true, force: true })
})

describe('what is taken', () => {
  test('before any policy is known nobody is allowed', () => {
    expect(keeper.view.decide(ann(), want)).toMatchObject({ allow: false })
    expect(keeper.age()).toBe(Infinity)
  })

  test('a document of the policy key is in force at once', async () => {
    let changes = 0
    keeper.view.onChange(() => (changes += 1))
    expect(await keeper.take(await sign(document(3)))).toBe('new')
    expect(keeper.view.decide(ann(), want)).toMatchObject({ allow: true })
    expect(changes).toBe(1)
    expect(keeper.view.userCas().x509Pems).toHaveLength(1)
  })

  test.each<[string, () => Promise<string>]>([
    ['another key', async () => sign(document(9), keySigner(generateKey().privateKey))],
    ['another cluster', async () => sign(document(9, { cluster: 'other' }))],
    ['an expired document', async () => sign(document(9, { expires: seconds(clock.now()) }))],
    ['another shape', async () => sign({ ...document(9), roles: 'all' } as never)],
    ['another typ', async () => jwsSign(key, { typ: 'postern-route+jws' }, document(9))],
    ['garbage', async () => 'a.b.c'],
    ['nothing', async () => ''],
  ])('%s is refused and changes nothing', async (_what, make) => {
    await keeper.take(await sign(document(3)))
    await expect(keeper.take(await make())).rejects.toMatchObject({ code: 'ERR_PROOF_INVALID' })
    expect(keeper.version).toBe(3)
  })

  // A proxy that was taken over keeps an old policy, from before the thief was locked out.
  test('an older version is refused, also after a restart', async () => {
    const old = await sign(document(3))
    const lock: Lock = {
      id: 'lk_1' as LockId,
      target: { kind: 'user', user: 'ann' },
      message: undefined,
      created: clock.now(),
      createdBy: 'op',
      expires: undefined,
    }
    await keeper.take(await sign(document(4, { locks: [lock] })))
    expect(await keeper.take(old)).toBe('old')
    expect(keeper.view.decide(ann(), want)).toMatchObject({ reason: 'user locked' })
    await keeper.saved()
    const later = await opened()
    expect(later.version).toBe(4)
    expect(await later.take(old)).toBe('old')
    expect(later.view.decide(ann(), want)).toMatchObject({ reason: 'user locked' })
  })

  test('two documents of one version are a contradiction and the second is refused', async () => {
    await keeper.take(await sign(document(3)))
    await expect(keeper.take(await sign(document(3, { users: {} })))).rejects.toMatchObject({
      code: 'ERR_PROOF_INVALID',
    })
    expect(keeper.view.decide(ann(), want).allow).toBe(true)
  })

  test('many at once leave the highest in force', async () => {
    const all = await Promise.all([5, 2, 9, 7, 3].map((v) => sign(document(v))))
    await Promise.all(all.map((token) => keeper.take(token)))
    expect(keeper.version).toBe(9)
  })

  test('the key changes only by a document that the old key signed', async () => {
    const next = keySigner(generateKey().privateKey)
    await keeper.take(await sign(document(3)))
    const byNext = document(5, { cas: { ...document(5).cas, policy: [jwk(next)] } })
    await expect(keeper.take(await sign(byNext, next))).rejects.toMatchObject({
      code: 'ERR_PROOF_INVALID',
    })
    const both = { ...document(4).cas, policy: [jwk(next), jwk(key)] }
    await keeper.take(await sign(document(4, { cas: both })))
    expect(await keeper.take(await sign(byNext, next))).toBe('new')
    await keeper.saved()
    // A later anchor, as a re-join brings it, does not bring the old key back.
    const later = await opened()
    await expect(later.take(await sign(document(6)))).rejects.toMatchObject({
      code: 'ERR_PROOF_INVALID',
    })
  })

  test('a file that cannot be read is reported and the policy is asked for anew', async () => {
    await keeper.take(await sign(document(3)))
    await keeper.saved()
    writeFileSync(join(dir, 'policy.json'), '{')
    const later = await opened()
    expect(later.version).toBe(0)
    await log.seen('policy.file_unreadable')
  })

  test('an agent of one cluster does not start to believe another', async () => {
    await keeper.take(await sign(document(3)))
    await keeper.saved()
    const later = createPolicyKeeper({ dataDir: dir, clock, random: systemRandom, log })
    await later.load()
    const other = { cluster: 'other.cluster', agentId: AGENT_ID, keys: [jwk(key)] }
    await expect(later.anchor(other)).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' })
  })
})

describe('freshness', () => {
  test('the age counts from the newest stamp for the version in force', async () => {
    const policy = document(3)
    await keeper.take(await sign(policy))
    clock.advance(120_000)
    expect(keeper.age()).toBe(120_000)
    expect(await keeper.take(await stamp(policy))).toBe('new')
    expect(keeper.age()).toBe(0)
    expect(await keeper.take(await stamp(policy, plus(clock.now(), -60_000)))).toBe('same')
    expect(keeper.age()).toBe(0)
  })

  test('a stamp for another document of the version is refused', async () => {
    await keeper.take(await sign(document(3)))
    await expect(keeper.take(await stamp(document(3, { users: {} })))).rejects.toMatchObject({
      code: 'ERR_PROOF_INVALID',
    })
  })

  test('strict roles grant nothing on an old view, best effort roles do', async () => {
    await keeper.take(await sign(document(3)))
    clock.advance(6 * 60_000)
    expect(keeper.view.decide(ann(['careful']), want)).toMatchObject({ reason: 'view too old' })
    expect(keeper.view.decide(ann(['access']), want)).toMatchObject({ allow: true })
  })

  test('a stamp that names a newer version makes the agent ask for it', async () => {
    const newer = document(4)
    await keeper.take(await sign(document(3)))
    const asked: string[] = []
    const refresh = createPolicyRefresh({
      keeper,
      api: () => ({
        async request(_method, path) {
          asked.push(path)
          const freshness = await stamp(newer)
          return { version: 4, policy: await sign(newer), freshness }
        },
      }),
      clock,
      random: systemRandom,
      log,
      signal: new AbortController().signal,
    })
    await refresh.pushed([await stamp(newer)])
    expect(asked).toContain('/v1/policy')
    expect(keeper.version).toBe(4)
  })

  test('a control plane that is away does not hurt, and doubt asks at most once a second', async () => {
    await keeper.take(await sign(document(3)))
    let asked = 0
    const refresh = createPolicyRefresh({
      keeper,
      api: () => ({
        async request() {
          asked += 1
          throw new AppError('ERR_UNREACHABLE')
        },
      }),
      clock,
      random: systemRandom,
      log,
      signal: new AbortController().signal,
    })
    await refresh.doubt()
    // Both come too soon: they wait, and one question answers both.
    const waiting = [refresh.doubt(), refresh.doubt()]
    expect(asked).toBe(1)
    clock.advance(1000)
    await Promise.all(waiting)
    expect(asked).toBe(2)
    await refresh.pushed(['a.b.c'])
    expect(keeper.version).toBe(3)
  })
})

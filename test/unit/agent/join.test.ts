/** Joining and renewing against the real control plane, on a hand clock: lost answers, copied and expired identities. */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ClusterInfo } from '../../../agent/cluster.ts'
import {
  openIdentityStore,
  type HeldIdentity,
  type IdentityStore,
} from '../../../agent/identity/store.ts'
import { checkCredentials, joinOnce } from '../../../agent/join/join.ts'
import { tokenCollector } from '../../../agent/join/token.ts'
import { renewalDelay, renewOnce } from '../../../agent/renew.ts'
import { AppError, ERRORS, type ErrorCode, type ErrorDetails } from '../../../core/errors.ts'
import { systemRandom } from '../../../core/random.ts'
import type { ServiceKind } from '../../../core/domain/service.ts'
import type { ApiClient } from '../../../net/http-client.ts'
import { mint } from '../../api/support/machine.ts'
import { openWorld, ORIGIN, type World } from '../../api/support/world.ts'

let world: World
let dir: string
let store: IdentityStore
const HOUR = 3_600_000

beforeEach(async () => {
  world = await openWorld()
  dir = mkdtempSync(join(tmpdir(), 'postern-join-'))
  store = await openIdentityStore(dir, systemRandom)
})
afterEach(async () => {
  await world.close()
  rmSync(dir, { recursive: true, force: true })
})

/** The API as an agent calls it; `lose` makes the answers to these paths vanish after the server acted. */
function api(lose: Set<string> = new Set()): Pick<ApiClient, 'request'> {
  return {
    async request(method, path, body) {
      const answer = await world.call(method, path, { body })
      if (lose.delete(path)) throw new AppError('ERR_UNREACHABLE')
      if (answer.status < 400) return answer.body
      const problem = answer.body as ErrorDetails & { code: string; detail: string }
      const code = problem.code in ERRORS ? (problem.code as ErrorCode) : 'ERR_INTERNAL'
      throw new AppError(code, problem.detail, { details: problem })
    },
  }
}

const cluster = (): ClusterInfo => ({
  cluster: world.plane.cluster,
  api: ORIGIN,
  proxies: [],
  trust: { system: false, ca: [] },
  pinnedCas: world.plane.caBundle.host.x509,
})

const enrol = (
  secret: string,
  options: {
    service?: ServiceKind
    client?: Pick<ApiClient, 'request'>
    store?: IdentityStore
  } = {},
): Promise<HeldIdentity> =>
  joinOnce({
    service: options.service ?? 'app',
    nodeName: 'web-1',
    cluster: cluster(),
    api: options.client ?? api(),
    store: options.store ?? store,
    collector: tokenCollector({ kind: 'value', secret }),
    clock: world.clock,
    random: systemRandom,
    signal: new AbortController().signal,
  })

const renew = (held: HeldIdentity, client = api(), from = store): Promise<HeldIdentity> =>
  renewOnce({
    held,
    cluster: cluster(),
    api: client,
    store: from,
    clock: world.clock,
    random: systemRandom,
    signal: new AbortController().signal,
  })

const uses = async (): Promise<number[]> => {
  const { body } = await world.op('GET', '/v1/tokens')
  return (body as { items: { status: { uses: number } }[] }).items.map((t) => t.status.uses)
}

test('a join leaves a credential on disk that the next start finds', async () => {
  const held = await enrol(await mint(world))
  const found = await (await openIdentityStore(dir, systemRandom)).load('app')
  expect(found?.certificate.fingerprint).toBe(held.certificate.fingerprint)
  expect(found?.agentId).toBe(held.agentId)
  expect(found?.stored.credentials.ssh_host).toBeUndefined()
})

test('one token joins every service it allows as one agent, each with a key of its own', async () => {
  const secret = await mint(world)
  const app = await enrol(secret)
  const ssh = await enrol(secret, { service: 'ssh' })
  expect(ssh.agentId).toBe(app.agentId)
  expect(ssh.certificate.thumbprint).not.toBe(app.certificate.thumbprint)
  expect(ssh.stored.credentials.ssh_host).toMatch(/^ecdsa-sha2-nistp256-cert/)
  expect(await uses()).toEqual([1])
})

test('a repeat after a lost answer is the same join and counts once', async () => {
  const secret = await mint(world)
  await expect(enrol(secret, { client: api(new Set(['/v1/join'])) })).rejects.toMatchObject({
    code: 'ERR_UNREACHABLE',
  })
  const held = await enrol(secret)
  expect(await uses()).toEqual([1])
  const { body } = await world.op('GET', '/v1/agents')
  expect((body as { items: { metadata: { name: string } }[] }).items).toMatchObject([
    { metadata: { name: held.agentId } },
  ])
})

test('a token without the service is refused by a code that names service and roles', async () => {
  const secret = await mint(world, { roles: ['App'] })
  await expect(enrol(secret, { service: 'ssh' })).rejects.toMatchObject({
    code: 'ERR_JOIN_SERVICE_NOT_ALLOWED',
    details: { roles: ['App'] },
  })
})

test('credentials of another CA, cluster or service are not kept', async () => {
  const held = await enrol(await mint(world))
  const { credentials } = held.stored
  const expected = { service: 'app' as const, cluster: cluster(), clock: world.clock }
  const other = await openWorld()
  const pinnedElsewhere = { ...cluster(), pinnedCas: other.plane.caBundle.host.x509 }
  await other.close()
  checkCredentials(credentials, expected)
  for (const wrong of [
    () => checkCredentials(credentials, { ...expected, cluster: pinnedElsewhere }),
    () => checkCredentials({ ...credentials, cluster: 'other' }, expected),
    () => checkCredentials({ ...credentials, service: 'ssh' }, expected),
  ])
    expect(wrong).toThrowError(expect.objectContaining({ code: 'ERR_CERT_INVALID' }))
})

test('a machine whose clock is hours off still joins', async () => {
  const secret = await mint(world)
  const behind = { ...world.clock, now: () => (world.clock.now() - 5 * HOUR) as never }
  await joinOnce({
    service: 'app',
    nodeName: 'web-1',
    cluster: cluster(),
    api: api(),
    store,
    collector: tokenCollector({ kind: 'value', secret }),
    clock: behind,
    random: systemRandom,
    signal: new AbortController().signal,
  })
})

test('renewal is due at half life, a tenth of the life either way', async () => {
  const held = await enrol(await mint(world))
  const at = (float: number) =>
    renewalDelay(held, world.clock, { ...systemRandom, float: () => float })
  expect(at(0) / HOUR).toBeCloseTo(24 * 0.4, 0)
  expect(at(0.5) / HOUR).toBeCloseTo(12, 0)
  expect(at(1) / HOUR).toBeCloseTo(24 * 0.6, 0)
  world.clock.set((world.clock.now() + 20 * HOUR) as never)
  expect(at(0.5)).toBe(0)
})

test('a renewal brings the next generation under a new key, without the token', async () => {
  const held = await enrol(await mint(world))
  world.clock.set((world.clock.now() + 12 * HOUR) as never)
  const next = await renew(held)
  expect(next.stored.credentials.generation).toBe(2)
  expect(next.agentId).toBe(held.agentId)
  expect(next.certificate.thumbprint).not.toBe(held.certificate.thumbprint)
  expect(next.expires).toBeGreaterThan(held.expires)
  expect((await store.load('app'))?.certificate.fingerprint).toBe(next.certificate.fingerprint)
})

test('a renewal whose answer was lost is repeated with the same key and id, also after a crash', async () => {
  const held = await enrol(await mint(world))
  await expect(renew(held, api(new Set(['/v1/renew'])))).rejects.toMatchObject({
    code: 'ERR_UNREACHABLE',
  })
  const later = await openIdentityStore(dir, systemRandom)
  const found = await later.load('app')
  if (!found) throw new Error('the identity is gone')
  expect(found.stored.credentials.generation).toBe(1)
  const next = await renew(found, api(), later)
  expect(next.stored.credentials.generation).toBe(2)
  expect((await renew(next)).stored.credentials.generation).toBe(3)
})

// Two machines from one disk image: the second renewal gives them away.
test('a copied data directory is refused, and the agent is locked', async () => {
  const held = await enrol(await mint(world))
  const copy = `${dir}-copy`
  mkdirSync(copy)
  cpSync(dir, copy, { recursive: true })
  try {
    await renew(held)
    const copied = await openIdentityStore(copy, systemRandom)
    await expect(renew(held, api(), copied)).rejects.toMatchObject({ code: 'ERR_RENEWAL_REFUSED' })
    const { body } = await world.op('GET', '/v1/locks')
    expect((body as { items: { spec: object }[] }).items).toMatchObject([
      { spec: { target: { agent: held.agentId } } },
    ])
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
})

test('an expired identity cannot renew, and a fresh token gives the same agent back', async () => {
  const held = await enrol(await mint(world))
  world.clock.set((world.clock.now() + 25 * HOUR) as never)
  await expect(renew(held)).rejects.toMatchObject({ code: 'ERR_RENEWAL_REFUSED' })
  const again = await enrol(await mint(world))
  expect(again.agentId).toBe(held.agentId)
})

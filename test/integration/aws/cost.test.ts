/**
 * What things cost, counted on the real code: docs/cost.md is made of these counts. `npm run cost` writes them down; otherwise they must
 * be what was written.
 */
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signRequest } from '../../../core/certs/signed-request.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { readCertificate } from '../../../core/certs/x509-read.ts'
import { plus, seconds, systemClock } from '../../../core/clock.ts'
import { tokenSecretHash } from '../../../core/domain/token-secret.ts'
import { newId, type AgentId } from '../../../core/ids.ts'
import { encodeKey, signJoin, signRenewal } from '../../../core/join/messages.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { idleMonth, readResults } from '../../../scripts/docs/cost.ts'
import {
  countedPlane,
  ORIGIN,
  type Cost,
  type CountedPlane,
} from '../../support/aws/counted-plane.ts'
import { handClock } from '../../support/clock.ts'
import { proxyWorld } from '../../support/proxy-world.ts'

const FILE = 'bench/results/cost.json'
const NOTHING: Cost = { calls: 0, readUnits: 0, writeUnits: 0, writeRequests: 0, signs: 0 }
const counted: Record<string, Cost> = {}
const bytes = { stamp: 0, item: 700 }
let plane: CountedPlane
beforeAll(async () => {
  plane = await countedPlane()
})
afterAll(() => plane?.close())

interface Agent {
  readonly id: AgentId
  readonly identity: {
    readonly certificate: ReturnType<typeof readCertificate>
    readonly signer: ReturnType<typeof keySigner>
  }
}

const operator = () => ({ authorization: `Bearer ${plane.operatorKey}` })
async function as(
  who: Agent['identity'],
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Readonly<Record<string, unknown>> }> {
  const authorization = await signRequest({
    method,
    url: ORIGIN + path,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    cluster: plane.cluster,
    ...who,
    now: systemClock.now(),
  })
  const answer = await plane.call(method, path, body, { authorization })
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(400)
  return answer
}

let made = 0
async function join(secret: string, as_: 'ssh' | 'proxy' = 'ssh'): Promise<Agent> {
  const [enrolment, service] = [generateKey(), generateKey()]
  const keys = {
    enrolment_key: encodeKey(enrolment.publicKey),
    service_key: encodeKey(service.publicKey),
  }
  const ask = { method: 'token', token: tokenSecretHash(secret), service: as_, ...keys }
  const { body: given } = await plane.call('POST', '/v1/join/challenge', ask)
  const request = await signJoin(
    {
      challenge: String(given['challenge']),
      method: 'token',
      service: as_,
      ...keys,
      node_name: `node-${++made}`,
      evidence: { secret },
    },
    { enrolment: keySigner(enrolment.privateKey), service: keySigner(service.privateKey) },
  )
  const { status, body } = await plane.call('POST', '/v1/join', request)
  expect(status, JSON.stringify(body)).toBe(200)
  return {
    id: String(body['agent_id']) as AgentId,
    identity: {
      certificate: readCertificate(String(body['x509'])),
      signer: keySigner(service.privateKey),
    },
  }
}
const announce = (agent: Agent) =>
  as(agent.identity, 'POST', '/v1/agents/self/resources', {
    resources: [{ kind: 'node', name: `node-${made}`, labels: { env: 'prod' }, hostname: 'h' }],
  })

let agent: Agent
test('a join is two write requests: one transaction, one event', async () => {
  const minted = await plane.call(
    'POST',
    '/v1/tokens',
    { roles: ['Node'], max_uses: 10 },
    operator(),
  )
  const secret = String(minted.body['secret'])
  // The first of the day notes the day.
  await join(secret)
  counted['join'] = await plane.cost(async () => {
    agent = await join(secret)
  })
  expect(counted['join'].writeRequests).toBeLessThanOrEqual(2)
  expect(counted['join'].signs).toBe(2)
  counted['announce'] = await plane.cost(() => announce(agent))
  counted['announce again'] = await plane.cost(() => announce(agent))
})

test('a renewal is one write request, its event in the same transaction', async () => {
  const next = generateKey()
  counted['renewal'] = await plane.cost(async () => {
    const request = await signRenewal(
      {
        cluster: plane.cluster,
        certificate: agent.identity.certificate.raw.toString('base64url'),
        generation: 1,
        next_key: encodeKey(next.publicKey),
        renewal_id: 'r-1',
        time: seconds(systemClock.now()),
      },
      { current: agent.identity.signer, next: keySigner(next.privateKey) },
    )
    const { status, body } = await plane.call('POST', '/v1/renew', request)
    expect(status, JSON.stringify(body)).toBe(200)
  })
  expect(counted['renewal'].writeRequests).toBeLessThanOrEqual(1)
  expect(counted['renewal'].signs).toBe(2)
})

test('a session', async () => {
  const proxyId = newId('proxy', systemClock.now(), systemRandom)
  const now = systemClock.now()
  const lease = {
    proxyId,
    bootId: 'boot',
    address: 'access.cost.example:443',
    peerAddress: undefined,
    tunnels: 1,
    expires: plus(now, LIMITS.leaseTtl.value),
  }
  const row = {
    agentId: agent.id,
    service: 'ssh',
    proxyId,
    bootId: 'boot',
    connId: newId('conn', now, systemRandom),
    opened: now,
  } as const
  const { presence } = plane.stores
  counted['lease'] = await plane.cost(() => presence.renewLease(lease))
  counted['policy version'] = await plane.cost(() => presence.policyCounts())
  counted['tunnel opens'] = await plane.cost(() => presence.putTunnel(row))
  const key = generateKey()
  let certs: Readonly<Record<string, unknown>> = {}
  counted['login'] = await plane.cost(async () => {
    const asked = { public_key: encodeKey(key.publicKey), user: 'ann' }
    certs = (await plane.call('POST', '/v1/certs', asked, operator())).body
  })
  const user = {
    certificate: readCertificate(String(certs['x509'])),
    signer: keySigner(key.privateKey),
  }
  counted['route'] = await plane.cost(() =>
    as(user, 'POST', '/v1/routes', { kind: 'node', name: `node-${made}` }),
  )
  const event = (type: string) => ({
    key: `session-${type}`.replace('.', '-'),
    time: systemClock.now(),
    type,
    outcome: 'ok',
    actor: 'ann',
    fields: { login: 'ann' },
  })
  counted['session events'] = await plane.cost(() =>
    as(agent.identity, 'POST', '/v1/agents/self/events', {
      events: [event('session.start'), event('session.end')],
    }),
  )
  // The first stamp of a version signs the policy as well.
  await as(agent.identity, 'GET', '/v1/policy')
  counted['policy fetched'] = await plane.cost(() => as(agent.identity, 'GET', '/v1/policy'))
  // Proxies ask for stamps and push them on.
  const { body: minted } = await plane.call('POST', '/v1/tokens', { roles: ['Proxy'] }, operator())
  const proxy = await join(String(minted['secret']), 'proxy')
  counted['freshness'] = await plane.cost(async () => {
    const { body } = await as(proxy.identity, 'GET', '/v1/policy/freshness')
    bytes.stamp = String(body['freshness']).length
  })
  counted['CAs read again'] = { ...NOTHING, readUnits: plane.casUnits() }
  counted['tunnel closes'] = await plane.cost(() => presence.endTunnel(row, systemClock.now()))
})

describe('an idle hour', () => {
  test.each([0, 10])('with %i agents: nothing is written for them', async (agents) => {
    const clock = handClock()
    const asked = { versions: 0, fetches: 0, stamps: 0 }
    const world = await proxyWorld({ clock })
    const { presence } = world
    const version = presence.policyCounts.bind(presence)
    presence.policyCounts = async () => {
      asked.versions += 1
      return version()
    }
    for (let i = 0; i < agents; i++)
      await world.dial({ leaf: await world.agentLeaf(world.agentId()) })
    await presence.written(1 + agents)
    const [writes, fetches] = [presence.writes.length, world.fetches()]
    const turn = () => new Promise((resolve) => setImmediate(resolve))
    for (let s = 0; s < 3600; s++) {
      clock.advance(1000)
      await turn()
    }
    const written = presence.writes.slice(writes)
    expect(new Set(written)).toEqual(new Set(['lease']))
    const hour = {
      leases: written.length,
      versions: asked.versions,
      policies: world.fetches() - fetches,
    }
    expect(hour.leases).toBeGreaterThan(700)
    expect(hour.leases).toBeLessThan(725)
    expect(hour.policies).toBe(0)
    await world.close()
  })
})

test('the counts are those that docs/cost.md shows (npm run cost)', () => {
  const results = { operations: counted, bytes }
  const text = `${JSON.stringify(results, null, 2)}\n`
  if (process.env['POSTERN_WRITE_COST'] !== undefined) writeFileSync(FILE, text)
  const { operations, bytes: known } = readResults()
  expect(operations).toEqual(counted)
  // Signatures and times vary by a byte or two.
  expect(Math.abs(known.stamp - bytes.stamp)).toBeLessThan(16)
})

describe('the targets', () => {
  test.each([
    ['small', 20],
    ['standard', 60],
  ] as const)(
    '%s costs at most %i USD a month at 1,000 idle agents, 8 of it the control plane',
    (profile, most) => {
      const month = idleMonth(readResults(), 1000, profile)
      expect(month.planeTotal).toBeLessThanOrEqual(8)
      expect(month.total).toBeLessThanOrEqual(most)
    },
  )
})

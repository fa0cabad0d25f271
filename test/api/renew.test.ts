/** Renewal: the next identity for who holds this one, and for nobody twice. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { credentials } from '../../core/api/join.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { readCertificate } from '../../core/certs/x509-read.ts'
import { joined, mint, tryRenew, type Joined } from './support/machine.ts'
import {
  codeOf,
  itemsOf,
  openWorld,
  type Answer,
  type Signatory,
  type World,
} from './support/world.ts'

const world: World = await openWorld()
let agent: Joined
let count = 0
beforeEach(async () => {
  agent = await joined(world, { secret: await mint(world), node: `renew-${++count}` })
})
afterAll(() => world.close())

const holder = (answer: Answer, key: ReturnType<typeof generateKey>): Signatory => ({
  certificate: readCertificate(credentials.parse(answer.body).x509),
  signer: keySigner(key.privateKey),
})
const locked = async (): Promise<boolean> =>
  itemsOf<{ spec: { target: { agent?: string } } }>(
    await world.op('GET', '/v1/locks?limit=500'),
  ).some((lock) => lock.spec.target.agent === agent.agentId)
const lastReason = async (): Promise<string | undefined> =>
  itemsOf<{ reason?: string }>(await world.op('GET', '/v1/events?type=agent.renew&limit=1'))[0]
    ?.reason

describe('a renewal', () => {
  test('gives the next generation to the next key, again and again', async () => {
    let current: Signatory = agent
    for (const generation of [1, 2, 3]) {
      const next = generateKey()
      const answer = await tryRenew(world, current, generation, next)
      expect(answer).toMatchObject({ status: 200, body: { generation: generation + 1 } })
      current = holder(answer, next)
    }
  })

  test('whose answer was lost is repeated: same generation, no lock', async () => {
    const next = generateKey()
    const first = await tryRenew(world, agent, 1, next)
    const again = await tryRenew(world, agent, 1, next)
    expect(again.status).toBe(200)
    expect(credentials.parse(again.body).generation).toBe(credentials.parse(first.body).generation)
    expect(await locked()).toBe(false)
  })

  test('of a copied identity locks the agent, and the audit log says so', async () => {
    expect((await tryRenew(world, agent, 1)).status).toBe(200)
    const thief = await tryRenew(world, agent, 1)
    expect(codeOf(thief)).toBe('ERR_RENEWAL_REFUSED')
    expect(await locked()).toBe(true)
    expect(await lastReason()).toMatch(/copied/)
    const events = await world.op(
      'GET',
      `/v1/events?type=lock.create&resource=agent/${agent.agentId}`,
    )
    expect(itemsOf(events)).toHaveLength(1)
    // Both copies are out now.
    expect(codeOf(await world.as(agent, 'GET', '/v1/policy'))).toBe('ERR_LOCKED')
  })

  test('with an expired certificate is refused and locks nothing', async () => {
    await tryRenew(world, agent, 1)
    world.later(25 * 3_600_000)
    expect(codeOf(await tryRenew(world, agent, 1))).toBe('ERR_RENEWAL_REFUSED')
    expect(await lastReason()).toMatch(/expired/)
    expect(await locked()).toBe(false)
  })

  test('CVE-2022-41316 (Vault): by a locked agent is refused', async () => {
    await world.op('POST', '/v1/locks', { target: { agent: agent.agentId } })
    expect(codeOf(await tryRenew(world, agent, 1))).toBe('ERR_RENEWAL_REFUSED')
    expect(await lastReason()).toBe('locked')
  })

  test('by a removed agent is refused', async () => {
    expect((await world.op('DELETE', `/v1/agents/${agent.agentId}`)).status).toBe(204)
    expect(codeOf(await tryRenew(world, agent, 1))).toBe('ERR_RENEWAL_REFUSED')
  })

  test('without the key of the certificate is refused and locks nothing', async () => {
    const forged = { ...agent, signer: keySigner(generateKey().privateKey) }
    expect(codeOf(await tryRenew(world, forged, 7))).toBe('ERR_RENEWAL_REFUSED')
    expect(await lastReason()).toMatch(/current key/)
    expect(await locked()).toBe(false)
  })

  test('to the key that is renewed is refused', async () => {
    expect(codeOf(await tryRenew(world, agent, 1, agent.key))).toBe('ERR_RENEWAL_REFUSED')
    expect(await locked()).toBe(false)
  })

  test("to another agent's key is refused and locks nothing", async () => {
    const other = await joined(world, { secret: await mint(world), node: `other-${count}` })
    expect(codeOf(await tryRenew(world, agent, 1, other.key))).toBe('ERR_KEY_ENROLLED')
    expect(await locked()).toBe(false)
  })

  test('by a clock that is off says what time it is', async () => {
    const time = Math.floor(world.clock.now() / 1000) + 600
    const answer = await tryRenew(world, agent, 1, generateKey(), { time })
    expect(answer).toMatchObject({
      status: 401,
      body: { code: 'ERR_CLOCK', serverTime: world.clock.now() },
    })
  })

  test('for another cluster is refused', async () => {
    const answer = await tryRenew(world, agent, 1, generateKey(), { cluster: 'other.internal' })
    expect(codeOf(answer)).toBe('ERR_RENEWAL_REFUSED')
  })

  test("with a user's certificate is refused", async () => {
    const user = await world.user(`renewer-${count}`, ['access'])
    expect(codeOf(await tryRenew(world, user, 1))).toBe('ERR_RENEWAL_REFUSED')
  })
})

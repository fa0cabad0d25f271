/** Locks on agents, on one of their services and on the token that let them in; and services that leave. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import type { Policy } from '../../core/domain/policy.ts'
import { joined, mint, tryJoin, tryRenew, type Joined } from './support/machine.ts'
import { codeOf, itemsOf, openWorld, type Signatory, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())

let token = ''
let secret = ''
let ssh: Joined
let app: Joined
let count = 0
beforeEach(async () => {
  token = `fleet-${++count}`
  secret = await mint(world, { name: token, max_uses: 5 })
  ssh = await joined(world, { secret, node: `web-${count}`, service: 'ssh' })
  const { enrolment } = ssh
  app = await joined(world, { secret, node: `web-${count}`, service: 'app', enrolment })
})
const lock = async (target: object) => {
  const answer = await world.op('POST', '/v1/locks', { target, ttl: '1h' })
  return {
    status: answer.status,
    name: (answer.body as { metadata: { name: string } }).metadata.name,
  }
}
const works = async (who: Signatory) =>
  (await world.as(who, 'GET', '/v1/policy/freshness')).status === 200
const policy = async (): Promise<Policy> => {
  const answer = await world.as(await world.proxy(), 'GET', '/v1/policy')
  const jws = (answer.body as { policy: string }).policy
  return JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()) as Policy
}

describe('a lock on one service', () => {
  test('strikes it at once and leaves the others of the agent alone', async () => {
    expect((await lock({ service: `${app.agentId}/app` })).status).toBe(201)
    expect([await works(app), await works(ssh)]).toEqual([false, true])
    expect(codeOf(await tryRenew(world, app, 1))).toBe('ERR_RENEWAL_REFUSED')
    expect((await tryRenew(world, ssh, 1)).status).toBe(200)
  })
  test.each([
    'ag_x/app',
    'app',
    'ag_01jd00000000000000000000aa/mail',
    'ag_01jd00000000000000000000aa',
  ])('on %s is refused', async (service) => {
    expect((await world.op('POST', '/v1/locks', { target: { service } })).status).toBe(400)
  })
})

describe('a lock on a token', () => {
  test('strikes every agent that it let in, and whoever shows it next', async () => {
    const other = await joined(world, { secret: await mint(world), node: `other-${count}` })
    const { name } = await lock({ token })
    expect([await works(ssh), await works(app), await works(other)]).toEqual([false, false, true])
    expect(codeOf(await tryRenew(world, ssh, 1))).toBe('ERR_RENEWAL_REFUSED')
    const late = await tryJoin(world, { secret, node: `late-${count}` })
    expect(codeOf(late)).toBe('ERR_JOIN_REFUSED')
    const [event] = itemsOf<{ reason: string }>(
      await world.op('GET', '/v1/events?type=agent.join&limit=1'),
    )
    expect(event?.reason).toBe('the token is locked')
    expect((await world.op('DELETE', `/v1/locks/${name}`)).status).toBe(204)
    expect(await works(ssh)).toBe(true)
  })
  test('names its agents in the policy, for those who do not know tokens', async () => {
    await lock({ token })
    const found = (await policy()).locks.find((one) => one.target.kind === 'token')
    expect(found?.target).toEqual({ kind: 'token', token, agents: [ssh.agentId] })
  })
})

describe('a service that leaves', () => {
  test('is worth nothing from then on; the agent, its name and its other services stay', async () => {
    const leave = await world.as(app, 'POST', '/v1/agents/self/leave', {})
    expect([leave.status, leave.body]).toEqual([200, { removed: true }])
    expect([await works(app), await works(ssh)]).toEqual([false, true])
    expect(codeOf(await tryRenew(world, app, 1))).toBe('ERR_RENEWAL_REFUSED')
    const taken = await tryJoin(world, { secret, node: `web-${count}` })
    expect(codeOf(taken)).toBe('ERR_NAME_TAKEN')
    const events = itemsOf<{ resource: string }>(
      await world.op('GET', '/v1/events?type=agent.leave'),
    )
    expect(events[0]?.resource).toBe(`agent/${app.agentId}`)
  })
  test('joins again with the same agent id, and what the copy of before signs is refused', async () => {
    await world.as(app, 'POST', '/v1/agents/self/leave', {})
    const { enrolment } = ssh
    const again = await joined(world, { secret, node: `web-${count}`, service: 'app', enrolment })
    expect(again.agentId).toBe(ssh.agentId)
    expect(await works(again)).toBe(true)
    expect(codeOf(await tryRenew(world, app, 1))).toBe('ERR_RENEWAL_REFUSED')
  })
})

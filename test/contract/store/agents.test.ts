/** Agents after the join: renewal by generation, announcements, removal. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import type { Agent, ServiceIdentity } from '../../../core/domain/agent.ts'
import type { Resource } from '../../../core/domain/resource.ts'
import type { JoinToken } from '../../../core/domain/token.ts'
import { newId, type AgentId, type Thumbprint } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { minute, openFixture, type StoreFixture } from './stores.ts'

let f: StoreFixture
beforeAll(async () => {
  f = await openFixture()
})
afterAll(() => f.close())

async function agent(fields: Parameters<StoreFixture['token']>[0] = {}, names: string[] = []) {
  const { token } = await f.token(fields)
  const out = await f.join(token, {
    nodeName: names[0] ?? 'web-1',
    names: names.map((name) => ({ kind: 'node' as const, name })),
  })
  if (out.kind === 'refused') throw new Error(out.reason)
  return { id: out.agent.id, agent: out.agent, identity: out.identity, token }
}
const app = (id: AgentId, name: string, labels: Record<string, string> = {}): Resource => ({
  kind: 'app',
  name,
  agentId: id,
  labels,
  protocol: 'http',
  hostname: undefined,
})

describe('renewal', () => {
  const renew = (i: ServiceIdentity, next: Thumbprint, fields = {}) =>
    f.stores.agents.renew({
      agentId: i.agentId,
      service: i.service,
      now: f.now(),
      generation: i.generation,
      issued: i.issued,
      current: i.current,
      next,
      ca: 'sha256:a',
      token: 'fleet',
      certificateExpires: plus(f.now(), 24 * 60 * minute),
      ...fields,
    })
  test('moves to the next generation and remembers both keys', async () => {
    const { identity } = await agent()
    const next = f.thumbprint()
    const out = await renew(identity, next)
    expect(out).toMatchObject({
      kind: 'renewed',
      identity: { generation: 2, current: next, previous: identity.current },
    })
    expect(await f.stores.agents.identities(identity.agentId)).toEqual([
      (out as { identity: ServiceIdentity }).identity,
    ])
  })
  test('after a lost answer is issued again for the same two keys, however often', async () => {
    const { identity } = await agent()
    const next = f.thumbprint()
    await renew(identity, next)
    for (let i = 0; i < 2; i++)
      expect(await renew(identity, next)).toMatchObject({
        kind: 'again',
        identity: { generation: 2, current: next },
      })
  })
  test('with an old generation and another key is a copied identity', async () => {
    const { identity } = await agent()
    await renew(identity, f.thumbprint())
    expect(await renew(identity, f.thumbprint())).toMatchObject({ kind: 'copied' })
  })
  test('with the right generation and a wrong key is a copied identity', async () => {
    const { identity } = await agent()
    expect(await renew(identity, f.thumbprint(), { current: f.thumbprint() })).toMatchObject({
      kind: 'copied',
    })
  })
  // What it stops: a thief and the owner renewing at the same moment, both getting a certificate.
  test('of 20 copies that renew at once one is renewed, the others are copies', async () => {
    const { identity } = await agent()
    const all = await Promise.all(Array.from({ length: 20 }, () => renew(identity, f.thumbprint())))
    expect(all.filter((o) => o.kind === 'renewed')).toHaveLength(1)
    expect(all.filter((o) => o.kind === 'copied')).toHaveLength(19)
  })
  test('to a key of another agent is refused', async () => {
    const other = await agent()
    const { identity } = await agent()
    expect(await renew(identity, other.identity.current)).toEqual({ kind: 'key enrolled' })
    expect(await renew(identity, other.agent.enrolment)).toEqual({ kind: 'key enrolled' })
  })
  test('of a locked or unknown agent is refused', async () => {
    const { id, identity } = await agent()
    await f.stores.locks.create({
      id: newId('lock', f.now(), systemRandom),
      target: { kind: 'agent', agent: id },
      message: undefined,
      created: f.now(),
      createdBy: 'test',
      expires: plus(f.now(), minute),
    })
    expect(await renew(identity, f.thumbprint())).toEqual({ kind: 'locked' })
    f.advance(minute)
    expect(await renew(identity, f.thumbprint())).toMatchObject({ kind: 'renewed' })
    expect(await renew({ ...identity, agentId: f.agentId() }, f.thumbprint())).toEqual({
      kind: 'unknown',
    })
  })
})

describe('announcements', () => {
  // An agent with two services claims its node's name with both joins; the app service must not give it back.
  test('of one service leave the names of the other alone', async () => {
    const { token } = await f.token({ roles: ['Node', 'App'] })
    const node = f.fresh('node')
    const names = [{ kind: 'node' as const, name: node }]
    const enrolment = f.thumbprint()
    const first = await f.join(token, { nodeName: node, names, enrolment })
    if (first.kind === 'refused') throw new Error(first.reason)
    const { id } = first.agent
    await f.stores.agents.announce(id, 'ssh', [
      { kind: 'node', name: node, agentId: id, labels: {}, protocol: undefined, hostname: 'h' },
    ])
    const second = await f.join(token, { nodeName: node, names, enrolment, service: 'app' })
    expect(second).toMatchObject({ kind: 'joined', agent: { id } })
    await f.stores.agents.announce(id, 'app', [app(id, f.fresh('app'))])
    expect((await f.stores.resources.byName('node', node)).map((r) => r.agentId)).toEqual([id])
  })

  test('replace what was there, are found by name, agent and list, and an equal one writes nothing', async () => {
    const { id } = await agent()
    const [a, b, c] = [f.fresh('app'), f.fresh('app'), f.fresh('app')]
    const announce = (...r: Resource[]) => f.stores.agents.announce(id, 'app', r)
    expect(await announce(app(id, a, { env: 'prod', team: 'x' }), app(id, b))).toEqual({
      kind: 'replaced',
    })
    expect(await announce(app(id, b), app(id, a, { team: 'x', env: 'prod' }))).toEqual({
      kind: 'unchanged',
    })
    expect(await announce(app(id, a, { env: 'dev' }), app(id, c))).toEqual({ kind: 'replaced' })
    expect((await f.stores.resources.ofAgent(id)).map((r) => r.name).sort()).toEqual([a, c].sort())
    expect(await f.stores.resources.byName('app', a)).toEqual([app(id, a, { env: 'dev' })])
    expect(await f.stores.resources.byName('app', b)).toEqual([])
    expect(await f.stores.agents.holders('app', b)).toEqual([])
  })
  test('of a name that another agent holds are refused by that name and change nothing', async () => {
    const [one, two] = [await agent(), await agent()]
    const [mine, taken] = [f.fresh('app'), f.fresh('app')]
    await f.stores.agents.announce(one.id, 'app', [app(one.id, taken)])
    await f.stores.agents.announce(two.id, 'app', [app(two.id, mine)])
    expect(
      await f.stores.agents.announce(two.id, 'app', [
        app(two.id, f.fresh('x')),
        app(two.id, taken),
      ]),
    ).toEqual({ kind: 'name taken', name: { kind: 'app', name: taken } })
    expect((await f.stores.resources.ofAgent(two.id)).map((r) => r.name)).toEqual([mine])
  })
  test('several agents share a name when their tokens allow it', async () => {
    const shared = f.fresh('shared')
    const ids = [await agent({ sharedNames: true }), await agent({ sharedNames: true })].map(
      (a) => a.id,
    )
    for (const id of ids)
      expect((await f.stores.agents.announce(id, 'app', [app(id, shared)])).kind).toBe('replaced')
    const found = await f.stores.resources.byName('app', shared)
    expect(found.map((r) => r.agentId).sort()).toEqual(ids.sort())
    const alone = await agent()
    expect((await f.stores.agents.announce(alone.id, 'app', [app(alone.id, shared)])).kind).toBe(
      'name taken',
    )
    for (const id of ids) await f.stores.agents.announce(id, 'app', [])
    expect((await f.stores.agents.announce(alone.id, 'app', [app(alone.id, shared)])).kind).toBe(
      'replaced',
    )
  })
  test('of 500 resources work, and a refusal in the middle takes no name', async () => {
    const [big, other] = [await agent(), await agent()]
    const names = Array.from({ length: 500 }, () => f.fresh('many'))
    await f.stores.agents.announce(other.id, 'app', [app(other.id, names[420] ?? '')])
    const all = names.map((name) => app(big.id, name))
    expect(await f.stores.agents.announce(big.id, 'app', all)).toMatchObject({ kind: 'name taken' })
    expect(await f.stores.agents.holders('app', names[0] ?? '')).toEqual([])
    await f.stores.agents.announce(other.id, 'app', [])
    expect(await f.stores.agents.announce(big.id, 'app', all)).toEqual({ kind: 'replaced' })
    expect(await f.stores.resources.ofAgent(big.id)).toHaveLength(500)
    expect(await f.stores.agents.announce(big.id, 'app', [])).toEqual({ kind: 'replaced' })
    expect(await f.stores.resources.ofAgent(big.id)).toEqual([])
  })
  test('of an unknown agent are refused', async () => {
    const id = f.agentId()
    expect(await f.stores.agents.announce(id, 'app', [app(id, f.fresh('app'))])).toEqual({
      kind: 'unknown agent',
    })
  })
})

describe('lists', () => {
  test('page through every resource once, by label and by search', async () => {
    const { id } = await agent()
    const names = Array.from({ length: 40 }, () => f.fresh('paged'))
    await f.stores.agents.announce(
      id,
      'app',
      names.map((name, i) => app(id, name, { page: 'yes', parity: i % 2 ? 'odd' : 'even' })),
    )
    const collect = async (filter: { labels?: Record<string, string>; search?: string }) => {
      const seen: string[] = []
      let cursor: string | undefined
      do {
        const page = await f.stores.resources.list('app', { ...filter, limit: 7, cursor })
        expect(page.items.length).toBeLessThanOrEqual(7)
        seen.push(...page.items.map((r) => r.name))
        cursor = page.cursor
      } while (cursor !== undefined)
      return seen
    }
    expect((await collect({ labels: { page: 'yes' } })).sort()).toEqual(names.toSorted())
    expect(await collect({ labels: { page: 'yes', parity: 'odd' } })).toHaveLength(20)
    expect(await collect({ search: (names[3] ?? '').toUpperCase() })).toEqual([names[3]])
    expect(await collect({ labels: { page: 'no' } })).toEqual([])
  })
  // What it stops: reading a list from a place of one's own choosing, or another list's place.
  test('a cursor that was changed, or made for another list or filter, is refused by field', async () => {
    const { cursor } = await f.stores.resources.list('app', { limit: 1 })
    if (cursor === undefined) throw new Error('no cursor')
    const changed = cursor.slice(0, -2) + (cursor.endsWith('AA') ? 'BB' : 'AA')
    const refused = { code: 'ERR_INPUT_INVALID', details: { issues: [{ path: 'cursor' }] } }
    const list: typeof f.stores.resources.list = (kind, filter) =>
      f.stores.resources.list(kind, filter)
    await expect(list('app', { cursor: changed })).rejects.toMatchObject(refused)
    await expect(list('app', { cursor: '' })).rejects.toMatchObject(refused)
    await expect(list('app', { cursor: 'x'.repeat(5000) })).rejects.toMatchObject(refused)
    await expect(list('node', { cursor })).rejects.toMatchObject(refused)
    await expect(list('app', { cursor, search: 'x' })).rejects.toMatchObject(refused)
    await expect(f.stores.agents.list({ cursor })).rejects.toMatchObject(refused)
  })
  test.each([0, -1, 501, 1.5, Number.NaN])('a limit of %s is refused by field', async (limit) => {
    await expect(f.stores.agents.list({ limit })).rejects.toMatchObject({
      details: { issues: [{ path: 'limit' }] },
    })
  })
})

describe('removal', () => {
  test('takes identities, resources, names and keys along, so that all can be used again', async () => {
    const node = f.fresh('gone')
    const { id, agent: a, identity } = await agent({}, [node])
    const name = f.fresh('app')
    await f.stores.agents.announce(id, 'app', [app(id, name)])
    expect(await f.stores.agents.remove(id)).toBe(true)
    expect(await f.stores.agents.remove(id)).toBe(false)
    expect(await f.stores.agents.get(id)).toBeUndefined()
    expect(await f.stores.agents.identities(id)).toEqual([])
    expect(await f.stores.resources.byName('app', name)).toEqual([])
    expect(await f.stores.agents.holders('node', node)).toEqual([])
    const { token } = await f.token()
    const out = await f.join(token, {
      enrolment: a.enrolment,
      key: identity.current,
      names: [{ kind: 'node', name: node }],
    })
    expect(out).toMatchObject({ kind: 'joined', newAgent: true })
  })
})

describe('a service that leaves', () => {
  const leave = (one: Agent) => f.stores.agents.removeService(one, 'ssh', f.now())
  const again = (token: JoinToken, enrolment: Thumbprint) => f.join(token, { enrolment })

  test('and joins again in the same second has a certificate that is told apart from the old one', async () => {
    const { token, identity, agent: one } = await agent({ maxUses: 2 })
    expect(await leave(one)).toBe(true)
    const [left] = await f.stores.presence.departuresSince(f.now(), f.now())
    expect(left).toMatchObject({ agentId: one.id, service: 'ssh', until: identity.issued })
    const next = await again(token, one.enrolment)
    if (next.kind !== 'joined') throw new Error(next.kind)
    expect(next.identity.issued).toBeGreaterThan(left?.until ?? 0)
    // And once more: each departure voids what came before it, and nothing after.
    expect(await leave(one)).toBe(true)
    const last = await again(token, one.enrolment)
    expect(last).toMatchObject({ identity: { issued: plus(next.identity.issued, 1000) } })
  })
  test('while it renews: the renewal is void, or refused', async () => {
    const { identity, agent: one, token } = await agent()
    const renewing = f.stores.agents.renew({
      agentId: one.id,
      service: 'ssh',
      now: f.now(),
      generation: 1,
      issued: identity.issued,
      current: identity.current,
      next: f.thumbprint(),
      ca: 'sha256:a',
      token: token.name,
      certificateExpires: plus(f.now(), 24 * 60 * minute),
    })
    const [outcome, left] = await Promise.all([renewing, leave(one)])
    expect(left).toBe(true)
    expect(await f.stores.agents.identities(one.id)).toEqual([])
    const [told] = await f.stores.presence
      .departuresSince(f.now(), f.now())
      .then((all) => all.filter((d) => d.agentId === one.id))
    if (outcome.kind === 'renewed')
      expect(outcome.identity.issued).toBeLessThanOrEqual(told?.until ?? 0)
    else expect(outcome.kind).toBe('unknown')
  })
})

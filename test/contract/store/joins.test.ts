/** The commit of a join: one identity for one use, whatever races, is repeated or is lost. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../../core/ids.ts'
import { plus } from '../../../core/clock.ts'
import { systemRandom } from '../../../core/random.ts'
import { minute, openFixture, type StoreFixture } from './stores.ts'
import type { JoinOutcome } from '../../../functions/store/join-store.ts'

let f: StoreFixture
beforeAll(async () => {
  f = await openFixture()
})
afterAll(() => f.close())
const joined = (outcome: JoinOutcome) => {
  if (outcome.kind === 'refused') throw new Error(`refused: ${outcome.reason}`)
  return outcome
}

describe('a new agent', () => {
  test('gets its id, its identity at generation 1 and its names, and counts one use', async () => {
    const { token } = await f.token()
    const id = f.agentId()
    const name = { kind: 'node', name: f.fresh('web') } as const
    const out = joined(await f.join(token, { newAgentId: id, names: [name], nodeName: name.name }))
    expect(out).toMatchObject({ kind: 'joined', newAgent: true, identity: { generation: 1 } })
    expect(await f.stores.agents.get(id)).toEqual(out.agent)
    expect(await f.stores.agents.identities(id)).toEqual([out.identity])
    expect(await f.stores.agents.holders('node', name.name)).toEqual([id])
    expect((await f.stores.tokens.byName(token.name))?.uses).toBe(1)
  })
  test('a token without a number of uses admits any number of agents', async () => {
    const { token } = await f.token({ maxUses: undefined })
    for (let i = 0; i < 3; i++) expect((await f.join(token)).kind).toBe('joined')
  })
  test.each([
    [
      'used up',
      async () => {
        const { token } = await f.token()
        await f.join(token)
        return f.join(token)
      },
    ],
    [
      'expired',
      async () => {
        const { token } = await f.token()
        f.advance(30 * minute)
        return f.join(token)
      },
    ],
    [
      'revoked',
      async () => {
        const { token } = await f.token()
        await f.stores.tokens.revoke(token.name)
        return f.join(token)
      },
    ],
    // A token minted anew under the name of a revoked one is another token.
    [
      'revoked',
      async () => {
        const { token } = await f.token()
        await f.stores.tokens.revoke(token.name)
        f.advance(minute)
        await f.token({ name: token.name })
        return f.join(token)
      },
    ],
    [
      'key enrolled',
      async () => {
        const { token } = await f.token({ maxUses: 2 })
        const key = f.thumbprint()
        await f.join(token, { key })
        return f.join(token, { key })
      },
    ],
    // An enrolment key that is some other agent's service key.
    [
      'key enrolled',
      async () => {
        const { token } = await f.token({ maxUses: 2 })
        const key = f.thumbprint()
        await f.join(token, { key })
        return f.join(token, { enrolment: key })
      },
    ],
    // One key for both.
    [
      'key enrolled',
      async () => {
        const { token } = await f.token()
        const key = f.thumbprint()
        return f.join(token, { key, enrolment: key })
      },
    ],
  ])('is refused: %s', async (reason, attempt) => {
    expect(await attempt()).toMatchObject({ kind: 'refused', reason })
  })
  test('a name that another agent holds refuses the join and names it; nothing is half done', async () => {
    const { token } = await f.token({ maxUses: 2 })
    const free = { kind: 'app', name: f.fresh('free') } as const
    const name = { kind: 'node', name: f.fresh('web') } as const
    await f.join(token, { names: [name] })
    const id = f.agentId()
    expect(await f.join(token, { newAgentId: id, names: [free, name] })).toMatchObject({
      kind: 'refused',
      reason: 'name taken',
      name,
    })
    expect(await f.stores.agents.get(id)).toBeUndefined()
    expect(await f.stores.agents.holders('app', free.name)).toEqual([])
    expect((await f.stores.tokens.byName(token.name))?.uses).toBe(1)
  })
  test('agents of tokens that allow it share an app name, never a node name', async () => {
    const { token } = await f.token({ maxUses: undefined, sharedNames: true })
    const alone = (await f.token({ maxUses: undefined })).token
    const app = { kind: 'app', name: f.fresh('grafana') } as const
    const node = { kind: 'node', name: f.fresh('node') } as const
    const [a, b] = [f.agentId(), f.agentId()]
    joined(await f.join(token, { newAgentId: a, names: [app, node] }))
    joined(await f.join(token, { newAgentId: b, names: [app] }))
    expect(await f.stores.agents.holders('app', app.name)).toEqual([a, b].sort())
    expect(await f.join(token, { names: [node] })).toMatchObject({ reason: 'name taken' })
    expect(await f.join(alone, { names: [app] })).toMatchObject({ reason: 'name taken' })
  })
})

describe('a known agent', () => {
  const again = { enrolment: '', key: '' }
  test('the same join after a lost answer is the same agent and counts once', async () => {
    const { token } = await f.token()
    const keys = { ...again, enrolment: f.thumbprint(), key: f.thumbprint() }
    const first = joined(await f.join(token, keys))
    const second = joined(await f.join(token, keys))
    expect(second).toMatchObject({ kind: 'again', agent: first.agent, identity: first.identity })
    expect((await f.stores.tokens.byName(token.name))?.uses).toBe(1)
  })
  test('the same join fifty times at once is one agent, counted once', async () => {
    const { token } = await f.token()
    const keys = { enrolment: f.thumbprint(), key: f.thumbprint() }
    const all = await Promise.all(Array.from({ length: 50 }, () => f.join(token, keys)))
    expect(new Set(all.map((o) => joined(o).agent.id)).size).toBe(1)
    expect(all.filter((o) => o.kind === 'joined')).toHaveLength(1)
    expect((await f.stores.tokens.byName(token.name))?.uses).toBe(1)
  })
  test('a second service keeps the id and counts no further use', async () => {
    const { token } = await f.token()
    const enrolment = f.thumbprint()
    const ssh = joined(await f.join(token, { enrolment }))
    const app = joined(await f.join(token, { enrolment, service: 'app' }))
    expect(app).toMatchObject({ kind: 'joined', newAgent: false })
    expect(app.agent.id).toBe(ssh.agent.id)
    expect((await f.stores.tokens.byName(token.name))?.uses).toBe(1)
    expect(await f.stores.agents.identities(ssh.agent.id)).toHaveLength(2)
  })
  test('another token counts its own use for the same agent', async () => {
    const first = (await f.token()).token
    const second = (await f.token()).token
    const enrolment = f.thumbprint()
    const a = joined(await f.join(first, { enrolment }))
    const b = joined(await f.join(second, { enrolment, service: 'app' }))
    expect(b.agent.id).toBe(a.agent.id)
    expect((await f.stores.tokens.byName(second.name))?.uses).toBe(1)
  })
  test('a repeat is refused once the token is revoked or has expired', async () => {
    const { token } = await f.token()
    const other = (await f.token()).token
    const one = { enrolment: f.thumbprint(), key: f.thumbprint() }
    const two = { enrolment: f.thumbprint(), key: f.thumbprint() }
    await f.join(token, one)
    await f.join(other, two)
    await f.stores.tokens.revoke(token.name)
    expect(await f.join(token, one)).toMatchObject({ kind: 'refused', reason: 'revoked' })
    f.advance(30 * minute)
    expect(await f.join(other, two)).toMatchObject({ kind: 'refused', reason: 'expired' })
  })
  test('a live service is not replaced by another key; an expired one is', async () => {
    const { token } = await f.token({ maxUses: undefined, expires: plus(f.now(), 9e8) })
    const enrolment = f.thumbprint()
    const first = joined(await f.join(token, { enrolment }))
    expect(await f.join(token, { enrolment })).toMatchObject({
      kind: 'refused',
      reason: 'service enrolled',
      agentId: first.agent.id,
    })
    f.advance(24 * 60 * minute)
    const second = joined(await f.join(token, { enrolment }))
    expect(second.agent.id).toBe(first.agent.id)
    expect(second.identity.current).not.toBe(first.identity.current)
  })
  test('a lock on the agent refuses another service', async () => {
    const { token } = await f.token()
    const enrolment = f.thumbprint()
    const { agent } = joined(await f.join(token, { enrolment }))
    await f.stores.locks.create({
      id: newId('lock', f.now(), systemRandom),
      target: { kind: 'agent', agent: agent.id },
      message: undefined,
      created: f.now(),
      createdBy: 'test',
      expires: undefined,
    })
    expect(await f.join(token, { enrolment, service: 'app' })).toMatchObject({
      kind: 'refused',
      reason: 'locked',
    })
  })
})

// What it stops: several machines enrolling with one leaked one-use token by being fast.
describe.each(['serialise', 'refuse'] as const)(
  '200 joins on a one-use token (%s)',
  (conflicts) => {
    test('exactly one wins, all others are told it is used up', async () => {
      const own = await openFixture({ conflicts })
      try {
        const { token } = await own.token()
        const all = await Promise.all(Array.from({ length: 200 }, () => own.join(token)))
        expect(all.filter((o) => o.kind === 'joined')).toHaveLength(1)
        expect(all.filter((o) => o.kind === 'refused' && o.reason === 'used up')).toHaveLength(199)
        expect((await own.stores.tokens.byName(token.name))?.uses).toBe(1)
        expect((await own.stores.agents.list({})).items).toHaveLength(1)
      } finally {
        await own.close()
      }
    })
  },
)

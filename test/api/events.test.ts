/** The audit log: what agents report, what operators ask for. */
import { afterAll, describe, expect, test } from 'vitest'
import { eventDocument } from '../../core/api/documents.ts'
import { joined, mint } from './support/machine.ts'
import { codeOf, cursorOf, itemsOf, openWorld, pathsOf, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())
const agent = await joined(world, { secret: await mint(world), node: 'web-1' })

const report = (events: object[]) => world.as(agent, 'POST', '/v1/agents/self/events', { events })
const event = (key: string, more: object = {}) => ({
  key,
  time: world.clock.now(),
  type: 'session.start',
  outcome: 'ok',
  actor: 'ann',
  resource: 'node/web-1',
  session: 'se_1',
  fields: { login: 'root' },
  ...more,
})
const list = async (query = '') =>
  itemsOf<{ type: string; actor: string; fields: Record<string, unknown>; time: string }>(
    await world.op('GET', `/v1/events?limit=500${query}`),
  )

describe('an agent reports', () => {
  test('events of its sessions, stamped with its own id', async () => {
    const answer = await report([
      event('key-00001', { fields: { agent: 'ag_forged', login: 'x' } }),
    ])
    expect(answer.body).toEqual({ accepted: 1 })
    const [found] = await list('&session=se_1')
    expect(found).toMatchObject({ actor: 'ann', fields: { agent: agent.agentId, service: 'ssh' } })
  })
  test('twice without a trace of the second time', async () => {
    const batch = [event('key-00002', { session: 'se_2' }), event('key-00003', { session: 'se_2' })]
    await report(batch)
    await report(batch)
    expect(await list('&session=se_2')).toHaveLength(2)
  })
  test('nothing of the future', async () => {
    await report([event('key-00004', { session: 'se_4', time: world.clock.now() + 1e9 })])
    const [found] = await list('&session=se_4')
    expect(Date.parse(found?.time ?? '')).toBeLessThanOrEqual(world.clock.now())
  })
  test.each([
    ['a type that is the control plane’s own', { type: 'user.login' }, 'events.0.type'],
    ['no key', { key: undefined }, 'events.0.key'],
    ['a key that is too short', { key: 'x' }, 'events.0.key'],
    ['a time that is no number', { time: 'now' }, 'events.0.time'],
    ['an outcome of its own', { outcome: 'fine' }, 'events.0.outcome'],
    ['an actor without end', { actor: 'x'.repeat(5000) }, 'events.0.actor'],
    ['fields that are objects', { fields: { a: { b: 1 } } }, 'events.0.fields.a'],
    ['an unknown field', { note: 'x' }, 'events.0.note'],
  ])('not with %s', async (_, wrong, path) => {
    const before = (await list()).length
    const answer = await report([event('key-00005', wrong)])
    expect(pathsOf(answer)).toContain(path)
    expect(await list()).toHaveLength(before)
  })
  test('not more than a hundred at once', async () => {
    const many = Array.from({ length: 101 }, (_, i) => event(`many-${10_000 + i}`))
    expect(codeOf(await report(many))).toBe('ERR_INPUT_INVALID')
  })
})

describe('the log', () => {
  test('is newest first, page by page, every event once', async () => {
    const whole = await list()
    const times = whole.map((one) => one.time)
    expect(times).toEqual([...times].sort().reverse())
    const paged: unknown[] = []
    let cursor: string | undefined
    do {
      const at = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`
      const page = await world.op('GET', `/v1/events?limit=3${at}`)
      paged.push(...itemsOf(page))
      cursor = cursorOf(page)
    } while (cursor !== undefined)
    expect(paged).toEqual(whole)
    for (const one of whole) eventDocument.parse(one)
  })
  test('is filtered by type, user, resource, session and time', async () => {
    expect(new Set((await list('&type=session.start')).map((e) => e.type))).toEqual(
      new Set(['session.start']),
    )
    const both = await list('&type=agent.join,token.create')
    expect(new Set(both.map((e) => e.type))).toEqual(new Set(['agent.join', 'token.create']))
    expect(new Set((await list('&user=ann')).map((e) => e.actor))).toEqual(new Set(['ann']))
    expect(await list('&user=nobody')).toEqual([])
    expect((await list('&resource=node/web-1')).length).toBeGreaterThan(1)
    world.later(3_600_000)
    await mint(world, { name: 'late' })
    expect((await list('&since=30m')).map((e) => e.type)).toEqual(['token.create'])
    const half = new Date(world.clock.now() - 1_800_000).toISOString()
    expect((await list(`&until=${encodeURIComponent(half)}&type=token.create`)).length).toBe(1)
  })
})

/** The audit log: nothing lost, nothing twice, newest first across days and shards. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import type { NewEvent } from '../../../core/domain/event.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { EventFilter } from '../../../functions/store/event-store.ts'
import { minute, openFixture, type StoreFixture } from './stores.ts'

let f: StoreFixture
beforeAll(async () => {
  f = await openFixture()
})
afterAll(() => f.close())
const day = 24 * 60 * minute
const event = (fields: Partial<NewEvent> = {}): NewEvent => ({
  type: 'agent.join',
  outcome: 'ok',
  actor: 'ag_1',
  resource: 'node/web-1',
  session: undefined,
  reason: undefined,
  fields: { address: '127.0.0.1', roles: ['Node'], count: 1, flag: true, none: null },
  ...fields,
})
async function all(filter: EventFilter) {
  const items = []
  let cursor: string | undefined
  let pages = 0
  do {
    const page = await f.stores.events.list({ ...filter, cursor })
    expect(page.items.length).toBeLessThanOrEqual(filter.limit ?? LIMITS.pageSizeDefault.value)
    items.push(...page.items)
    cursor = page.cursor
    pages++
  } while (cursor !== undefined)
  return { items, pages }
}

test('an event comes back as it was appended, with its id and time', async () => {
  const made = await f.stores.events.append(event({ actor: 'alone' }))
  expect(made.time).toBe(f.now())
  expect((await all({ actor: 'alone' })).items).toEqual([made])
})
test('300 events over four days are listed once each, newest first, in pages', async () => {
  const start = f.now()
  const made = []
  for (let d = 0; d < 4; d++) {
    for (let i = 0; i < 75; i++) {
      f.advance(100)
      made.push(await f.stores.events.append(event({ actor: 'many' })))
    }
    f.advance(day)
  }
  const { items, pages } = await all({ from: start, limit: 40 })
  expect(items.map((e) => e.id)).toEqual(
    made
      .map((e) => e.id)
      .reverse()
      .concat(items.slice(300).map((e) => e.id)),
  )
  expect(items.filter((e) => e.actor === 'many')).toHaveLength(300)
  expect(pages).toBeGreaterThanOrEqual(8)
})
test('a burst within one millisecond loses nothing', async () => {
  const before = f.now()
  const made = await Promise.all(
    Array.from({ length: 100 }, () => f.stores.events.append(event({ actor: 'burst' }))),
  )
  const { items } = await all({ from: before, actor: 'burst', limit: 7 })
  expect(new Set(items.map((e) => e.id))).toEqual(new Set(made.map((e) => e.id)))
  expect(items).toHaveLength(100)
})
test('time, type, actor, resource and session narrow the list', async () => {
  const from = plus(f.now(), 1000)
  f.advance(2000)
  await f.stores.events.append(event({ type: 'user.login', actor: 'ann', resource: 'user/ann' }))
  f.advance(1000)
  await f.stores.events.append(event({ type: 'session.start', actor: 'ann', session: 's1' }))
  f.advance(1000)
  const count = async (filter: EventFilter) => (await all({ from, ...filter })).items.length
  expect(await count({})).toBe(2)
  expect(await count({ types: ['user.login', 'user.put'] })).toBe(1)
  expect(await count({ actor: 'ann' })).toBe(2)
  expect(await count({ actor: 'an' })).toBe(0)
  expect(await count({ resource: 'user/ann' })).toBe(1)
  expect(await count({ session: 's1' })).toBe(1)
  expect(await count({ to: plus(from, 1500) })).toBe(1)
})
test('an upload that is repeated is one event each', async () => {
  const from = f.now()
  const upload = Array.from({ length: 60 }, (_, i) => ({
    event: event({ actor: 'upload', time: plus(from, i) }),
    unique: `ag_1#key-${i}`,
  }))
  const first = await f.stores.events.appendAll(upload)
  expect(await f.stores.events.appendAll([...upload, ...upload.slice(0, 5)])).toEqual([
    ...first,
    ...first.slice(0, 5),
  ])
  f.advance(minute)
  expect((await all({ from, actor: 'upload', limit: 11 })).items).toHaveLength(60)
})
test('events that come in while a list is paged do not shift its pages', async () => {
  f.advance(minute)
  const from = f.now()
  for (let i = 0; i < 20; i++) await f.stores.events.append(event({ actor: 'paged' }))
  f.advance(1)
  const first = await f.stores.events.list({ from, actor: 'paged', limit: 10 })
  for (let i = 0; i < 5; i++) {
    f.advance(1)
    await f.stores.events.append(event({ actor: 'paged' }))
  }
  const seen = new Set(first.items.map((e) => e.id))
  let { cursor } = first
  while (cursor !== undefined) {
    const page = await f.stores.events.list({ from, actor: 'paged', limit: 10, cursor })
    for (const e of page.items) seen.add(e.id)
    cursor = page.cursor
  }
  expect(seen.size).toBe(20)
})
test('a long text is cut, the event is kept', async () => {
  const made = await f.stores.events.append(event({ reason: 'x'.repeat(100_000), actor: 'long' }))
  expect(made.reason?.endsWith('…')).toBe(true)
  expect((await all({ actor: 'long' })).items).toEqual([made])
})

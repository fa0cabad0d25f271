/**
 * The audit log in the table: a partition for each day and shard, ids that sort by time. A list reads the shards of a day side
 * by side and merges them; days without events are never visited, because every day that has some is noted first.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import { instant, plus, seconds, type Clock, type Instant } from '../../../core/clock.ts'
import {
  boundEvent,
  EVENT_TYPES,
  type AuditEvent,
  type EventField,
  type NewEvent,
} from '../../../core/domain/event.ts'
import { newId, type EventId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { Random } from '../../../core/random.ts'
import type { EventAppend, EventFilter, EventStore } from '../event-store.ts'
import { dayOf, eventPartition, joinKey, keys, SHARDS } from '../table.ts'
import { codec, idOf } from './codec.ts'
import { pageLimit, type Cursors } from './cursor.ts'
import { sortKey, textOf, type Plain } from './marshal.ts'
import type { TableClient, Write } from './table-client.ts'

const field: z.ZodType<EventField> = z.union([
  z.string(),
  z.number(),
  z.boolean(),
  z.null(),
  z.array(z.string()),
])
const events = codec(
  'event',
  z.object({
    id: idOf<EventId>(),
    // Milliseconds: the order of what happened within a second matters in an audit log.
    time: z.int().transform(instant),
    type: z.enum(EVENT_TYPES),
    outcome: z.enum(['ok', 'refused', 'failed']),
    actor: z.string(),
    resource: z.string().optional(),
    session: z.string().optional(),
    reason: z.string().optional(),
    fields: z.record(z.string(), field),
  }),
  (b): AuditEvent => ({ ...b, resource: b.resource, session: b.session, reason: b.reason }),
)
const days = codec('eventDay', z.object({ day: z.string() }), (b) => b.day)

/** Queries of one page, so that a filter that matches nothing cannot read the whole log in one call. */
const QUERIES_PER_PAGE = 64
/** Puts of one upload that are on their way at once. */
const AT_ONCE = 25

export interface StagedEvents extends EventStore {
  /** The write of one event, for a transaction that it tells of. Its day is noted already. */
  staged(event: NewEvent): Promise<Write>
}

export function createEventStore(deps: {
  readonly table: TableClient
  readonly cursors: Cursors
  readonly clock: Clock
  readonly random: Random
}): StagedEvents {
  const { table, cursors, clock, random } = deps
  const noted = new Set<string>()

  /** There before the first event of its day; asked of the table once for each day and process. */
  async function noteDay(at: Instant): Promise<void> {
    const day = dayOf(at)
    if (noted.has(day)) return
    await table.write({ put: days.item({ ...keys.eventDay(day), ttl: ttlOf(at) }, { day }) })
    noted.add(day)
  }
  const ttlOf = (at: Instant) => seconds(plus(at, LIMITS.eventRetention.value)) + 24 * 3600

  /** With `unique`, the id follows from time and text, so that a repeat writes the same item again. */
  function idFor(time: Instant, unique: string | undefined): EventId {
    const bytes = (n: number) =>
      unique === undefined
        ? random.bytes(n)
        : createHash('sha256').update(unique, 'utf8').digest().subarray(0, n)
    return newId('event', time, { ...random, bytes })
  }

  function prepare({ event, unique }: EventAppend): { event: AuditEvent; item: Plain } {
    const time = event.time ?? clock.now()
    const made: AuditEvent = { ...boundEvent(event), id: idFor(time, unique), time }
    const item = events.item({ ...keys.event(dayOf(time), made.id), ttl: ttlOf(time) }, { ...made })
    return { event: made, item }
  }

  async function daysBetween(from: Instant, to: Instant): Promise<string[]> {
    const found: string[] = []
    for (
      let year = Number(dayOf(to).slice(0, 4));
      year >= Number(dayOf(from).slice(0, 4));
      year--
    ) {
      const items = await table.queryAll({ partition: joinKey('EVENTDAY', String(year)) })
      found.push(...items.map((item) => days.fromItem(item)))
    }
    const [first, last] = [dayOf(from), dayOf(to)]
    return found
      .filter((day) => first <= day && day <= last)
      .sort()
      .reverse()
  }

  /**
   * The next events of a day, newest first, older than `below`. Shards are read side by side; what lies below the lowest
   * point that every unfinished shard has reached is left for the next read.
   */
  async function readDay(day: string, below: string | undefined, limit: number) {
    const each = Math.ceil(limit / SHARDS.length) + 8
    const pages = await Promise.all(
      SHARDS.map((shard) =>
        table.query({
          partition: eventPartition(day, shard),
          below,
          backwards: true,
          limit: each,
        }),
      ),
    )
    const reached = pages
      .filter((page) => page.next !== undefined)
      .map((page) => textOf(page.items.at(-1)?.['sk'] ?? page.next?.['sk']))
    const floor = reached.sort().at(-1)
    const items = pages
      .flatMap((page) => page.items)
      .filter((item) => floor === undefined || sortKey(item) >= floor)
      .sort((a, b) => (sortKey(a) < sortKey(b) ? 1 : -1))
    return { items, more: floor !== undefined, floor }
  }

  const keep = (event: AuditEvent, filter: EventFilter, from: Instant, to: Instant): boolean =>
    event.time >= from &&
    event.time < to &&
    (filter.types === undefined || filter.types.includes(event.type)) &&
    (filter.actor === undefined || filter.actor === event.actor) &&
    (filter.resource === undefined || filter.resource === event.resource) &&
    (filter.session === undefined || filter.session === event.session)

  async function list(filter: EventFilter) {
    const limit = pageLimit(filter.limit)
    const now = clock.now()
    const from = filter.from ?? plus(now, -LIMITS.eventRetention.value)
    const scope = joinKey(
      'events',
      ...[filter.from, filter.to, filter.actor, filter.resource, filter.session].map((x) =>
        String(x ?? ''),
      ),
      (filter.types ?? []).join(),
    )
    const at = filter.cursor === undefined ? undefined : cursors.open(scope, filter.cursor)
    // Without an upper end the first page decides it, so that new events do not shift the pages after it.
    const to = instant(Number(at?.['to'] ?? filter.to ?? plus(now, 1)))
    let below = at?.['below'] === undefined ? undefined : String(at['below'])
    const start = at?.['day'] === undefined ? undefined : String(at['day'])
    const found: AuditEvent[] = []
    let bytes = 0
    const seal = (day: string) =>
      cursors.seal(scope, { to, day, ...(below === undefined ? {} : { below }) })

    let queries = 0
    for (const day of await daysBetween(from, to)) {
      if (start !== undefined && day > start) continue
      if (day !== start) below = undefined
      for (let more = true; more;) {
        if (queries >= QUERIES_PER_PAGE) return { items: found, cursor: seal(day) }
        queries += SHARDS.length
        const read = await readDay(day, below, limit - found.length)
        for (const item of read.items) {
          if (found.length >= limit || bytes >= LIMITS.httpResponsePage.value)
            return { items: found, cursor: seal(day) }
          below = sortKey(item)
          const event = events.fromItem(item)
          if (!keep(event, filter, from, to)) continue
          found.push(event)
          bytes += JSON.stringify(item).length
        }
        below = read.floor ?? below
        more = read.more
      }
    }
    return { items: found, cursor: undefined }
  }

  async function* ofDay(day: string): AsyncGenerator<readonly AuditEvent[]> {
    for (const shard of SHARDS) {
      let start: Readonly<Record<string, string>> | undefined
      do {
        const page = await table.query({ partition: eventPartition(day, shard), start })
        if (page.items.length > 0) yield page.items.map((item) => events.fromItem(item))
        start = page.next
      } while (start !== undefined)
    }
  }

  return {
    list,
    ofDay,
    async staged(event) {
      const made = prepare({ event })
      await noteDay(made.event.time)
      return { put: made.item }
    },
    async append(event) {
      const made = prepare({ event })
      await noteDay(made.event.time)
      await table.write({ put: made.item })
      return made.event
    },
    async appendAll(given) {
      const made = given.map(prepare)
      for (const { event } of made) await noteDay(event.time)
      // The same item twice in one request is refused, and one upload may well repeat itself.
      const items = [...new Map(made.map((m) => [m.event.id, m.item])).values()]
      // One put for each: the right to write batches is a right to delete (docs/adr/0044).
      for (let at = 0; at < items.length; at += AT_ONCE)
        await Promise.all(items.slice(at, at + AT_ONCE).map((put) => table.write({ put })))
      return made.map((m) => m.event)
    },
  }
}

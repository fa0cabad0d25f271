/**
 * Copies days of the audit log to the records bucket, where they are locked against deletion: the table forgets an event when its
 * retention is over, the bucket does not. A day is copied when it has ended, a week later (agents that were cut off send late), and
 * once more before the table forgets it. Keys follow from the day alone: a copy replaces the one before as its newer version.
 */
import { gzipSync } from 'node:zlib'
import { plus, type Clock } from '../../core/clock.ts'
import type { AuditEvent } from '../../core/domain/event.ts'
import { reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import { eventDocumentOf } from '../documents.ts'
import type { Stores } from '../store/stores.ts'
import { dayOf } from '../store/table.ts'
import type { ObjectStore } from './s3.ts'

export interface ArchiveDeps {
  readonly clock: Clock
  readonly log: Log
  readonly stores: Pick<Stores, 'events'>
  readonly objects: ObjectStore
}

const DAY_MS = 24 * 3600 * 1000
/** The last copy is made this long before the table may forget the day. */
const MARGIN_DAYS = 3

/** The days whose turn it is, newest first. */
export function daysDue(clock: Clock): string[] {
  const retention = Math.floor(LIMITS.eventRetention.value / DAY_MS)
  return [1, 8, retention - MARGIN_DAYS].map((age) => dayOf(plus(clock.now(), -age * DAY_MS)))
}

/** Gzip of JSON lines, without a time in it: the same events are the same bytes. */
function packed(lines: readonly string[]): Buffer {
  return gzipSync(Buffer.from(lines.join(''), 'utf8'), { level: 9 })
}

/** How many events of the day were copied. Throws ERR_UNREACHABLE; what was copied by then stays. */
export async function archiveDay(deps: ArchiveDeps, day: string): Promise<number> {
  let lines: string[] = []
  let size = 0
  let part = 0
  let count = 0
  async function flush(): Promise<void> {
    if (lines.length === 0) return
    const key = `events/${day.replaceAll('-', '/')}/${String(part).padStart(5, '0')}.ndjson.gz`
    await deps.objects.put(key, packed(lines), 'application/x-ndjson+gzip')
    part += 1
    count += lines.length
    lines = []
    size = 0
  }
  const add = async (event: AuditEvent): Promise<void> => {
    const line = `${JSON.stringify(eventDocumentOf(event))}\n`
    lines.push(line)
    size += line.length
    if (size >= LIMITS.archivePart.value) await flush()
  }
  for await (const events of deps.stores.events.ofDay(day))
    for (const event of events) await add(event)
  await flush()
  return count
}

/** One daily run. Every day is tried; failures are thrown at the end, so that Lambda tries again and the alarm sees it. */
export async function archive(deps: ArchiveDeps): Promise<void> {
  const failures: unknown[] = []
  for (const day of daysDue(deps.clock)) {
    try {
      const events = await archiveDay(deps, day)
      deps.log.info('archive.day', { day, events })
    } catch (e) {
      deps.log.error('archive.failed', { day, reason: reasonOf(e) })
      failures.push(e)
    }
  }
  if (failures.length > 0)
    throw new AggregateError(failures, 'days of the audit log were not copied')
}

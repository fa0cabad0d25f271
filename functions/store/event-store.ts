/** The audit log: appended to, never changed; listed newest first. */
import type { Instant } from '../../core/clock.ts'
import type { AuditEvent, EventType, NewEvent } from '../../core/domain/event.ts'
import type { Page, PageRequest } from './page.ts'

export interface EventFilter extends PageRequest {
  /** Inclusive; the default is the start of retention. */
  readonly from?: Instant | undefined
  /** Exclusive; the default is now. */
  readonly to?: Instant | undefined
  readonly types?: readonly EventType[] | undefined
  /** Exactly this actor. */
  readonly actor?: string | undefined
  /** Exactly this resource, as `node/web-1`. */
  readonly resource?: string | undefined
  readonly session?: string | undefined
}

export interface EventAppend {
  readonly event: NewEvent
  /**
   * Makes a repeated upload harmless: the same `unique` with the same time is the same event. `<agent id>#<key>` for events
   * of agents.
   */
  readonly unique?: string | undefined
}

export interface EventStore {
  /** Gives it an id and a time (now, unless it has one), cuts long texts, writes it durably. One write request. */
  append(event: NewEvent): Promise<AuditEvent>
  /** Many at once; all are durable when it returns. Repeatable for those with `unique`. */
  appendAll(events: readonly EventAppend[]): Promise<AuditEvent[]>
  /** Newest first across shards and days. Strongly consistent. A page that filters much may be empty with a cursor. */
  list(filter: EventFilter): Promise<Page<AuditEvent>>
  /** All events of a day (`2026-11-23`, UTC), a page at a time, each shard in its order. Strongly consistent. */
  ofDay(day: string): AsyncIterable<readonly AuditEvent[]>
}

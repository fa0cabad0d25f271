/** Writes the control plane's own entries of the audit log, each with where the call came from and under which request id. */
import type { EventField, EventType, NewEvent } from '../core/domain/event.ts'
import { sourceIp, type Ctx } from './http.ts'
import { auditFieldsOf } from './middleware/callers.ts'
import type { Stores } from './store/stores.ts'

export interface AuditDeps {
  readonly stores: Pick<Stores, 'events'>
}
export interface AuditEntry {
  readonly type: EventType
  readonly outcome?: 'ok' | 'refused' | 'failed'
  readonly actor: string
  readonly resource?: string
  readonly reason?: string
  readonly fields?: Readonly<Record<string, EventField>>
}

/** The event, for stores that write it in one transaction with what it tells. */
export function eventOf(c: Ctx, entry: AuditEntry): NewEvent {
  // Who could not be identified is described by the entry itself.
  const caller = c.get('identified')
  return {
    type: entry.type,
    outcome: entry.outcome ?? 'ok',
    actor: entry.actor,
    resource: entry.resource,
    session: undefined,
    reason: entry.reason,
    fields: {
      ...(caller && auditFieldsOf(caller)),
      ...entry.fields,
      ip: sourceIp(c),
      request: c.get('requestId'),
    },
  }
}

/** Durable when it returns: nothing is answered that the log does not know. */
export async function audit(deps: AuditDeps, c: Ctx, entry: AuditEntry): Promise<void> {
  await deps.stores.events.append(eventOf(c, entry))
}

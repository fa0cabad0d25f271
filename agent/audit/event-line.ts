/** One audit event as one line of JSON, cut to what the control plane accepts, so that no text of a user can block the log. */
import type { Instant } from '../../core/clock.ts'
import { agentEvents, type AgentEvent, type EventField } from '../../core/domain/event.ts'

export type UnsentEvent = Omit<AgentEvent, 'key' | 'time'>

const TEXT = 1024
const FIELD = 4096
const LIST = 64
const FIELDS = 32

const cut = (text: string, max: number): string =>
  text.length <= max ? text : `${text.slice(0, max - 1)}…`

function fitField(value: EventField): EventField {
  if (typeof value === 'string') return cut(value, FIELD)
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value === 'boolean' || value === null) return value
  return value.slice(0, LIST).map((text) => cut(text, TEXT))
}

export function fitEvent(event: UnsentEvent, key: string, now: Instant): AgentEvent {
  const fields = Object.entries(event.fields)
    .slice(0, FIELDS)
    .map(([name, value]) => [cut(name, 64), fitField(value)] as const)
  return {
    key,
    time: Math.floor(now),
    type: event.type,
    outcome: event.outcome,
    actor: cut(event.actor, TEXT),
    ...(event.resource === undefined ? {} : { resource: cut(event.resource, TEXT) }),
    ...(event.session === undefined ? {} : { session: cut(event.session, TEXT) }),
    ...(event.reason === undefined ? {} : { reason: cut(event.reason, TEXT) }),
    fields: Object.fromEntries(fields) as AgentEvent['fields'],
  }
}

const one = agentEvents.shape.events.element

/** The events of a file. A line that a crash cut short, or that is nothing of ours, is skipped. */
export function readLines(text: string): AgentEvent[] {
  return text.split('\n').flatMap((line) => {
    if (line === '') return []
    try {
      const parsed = one.safeParse(JSON.parse(line))
      return parsed.success ? [parsed.data] : []
    } catch {
      return []
    }
  })
}

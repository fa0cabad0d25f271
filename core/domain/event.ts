/** The audit log's entries. A product feature with a schema, not logging: what happened, to whom, and exactly why. */
import * as z from 'zod'
import type { Instant } from '../clock.ts'
import type { EventId } from '../ids.ts'
import { LIMITS } from '../limits.ts'

/** What an agent may report of its own sessions; everything else is written by the control plane itself. */
export const AGENT_EVENT_TYPES = [
  'session.start',
  'session.end',
  'session.exec',
  'session.file',
  'session.forward',
  'session.agent_forward',
  'session.refused',
  'app.start',
  'app.end',
  /** Events that an agent could not keep until they were sent. */
  'audit.dropped',
] as const
export type AgentEventType = (typeof AGENT_EVENT_TYPES)[number]

export const EVENT_TYPES = [
  'agent.join',
  'agent.renew',
  'agent.resources',
  'agent.leave',
  'token.create',
  'token.revoke',
  'user.login',
  'user.put',
  'user.delete',
  'role.put',
  'role.delete',
  'lock.create',
  'lock.delete',
  'cert.issue',
  'key.create',
  'key.delete',
  'connector.put',
  'connector.delete',
  'operator.bootstrap',
  'operator.refused',
  'ca.rotate',
  'ca.rollback',
  'store.restore',
  ...AGENT_EVENT_TYPES,
] as const
export type EventType = (typeof EVENT_TYPES)[number]

export type EventField = string | number | boolean | null | readonly string[]
export interface AuditEvent {
  readonly id: EventId
  readonly time: Instant
  readonly type: EventType
  readonly outcome: 'ok' | 'refused' | 'failed'
  /** Who did it: a user or agent id, an operator key's name, an address. */
  readonly actor: string
  /** What it was done to: `node/web-1`, `token/web-fleet`, `user/ann`. */
  readonly resource: string | undefined
  readonly session: string | undefined
  /** The exact reason of a refusal or failure. */
  readonly reason: string | undefined
  /** More facts, by type; docs/concepts.md lists them. */
  readonly fields: Readonly<Record<string, EventField>>
}

/** An event before the log gives it an id. */
export type NewEvent = Omit<AuditEvent, 'id' | 'time'> & { readonly time?: Instant }

const text = z.string().max(1024)
const field = z.union([
  z.string().max(4096),
  z.number(),
  z.boolean(),
  z.null(),
  z.array(text).max(64),
])

/** `POST /v1/agents/self/events`. `key` is unique per agent and makes a repeated upload harmless. */
export const agentEvents = z.strictObject({
  events: z
    .array(
      z.strictObject({
        key: z.string().regex(/^[A-Za-z0-9_-]{8,64}$/),
        time: z.int(),
        type: z.enum(AGENT_EVENT_TYPES),
        outcome: z.enum(['ok', 'refused', 'failed']),
        actor: text,
        resource: text.optional(),
        session: text.optional(),
        reason: text.optional(),
        fields: z.record(z.string().max(64), field).refine((f) => Object.keys(f).length <= 32),
      }),
    )
    .min(1)
    .max(100),
})
export type AgentEvent = z.output<typeof agentEvents>['events'][number]

const cut = (value: string, max: number): string =>
  value.length <= max ? value : `${value.slice(0, max - 1)}…`
/** Keeps an event within its size limit: long texts are cut and end in an ellipsis. */
export function boundEvent<E extends NewEvent>(event: E): E {
  const max = Math.floor(LIMITS.eventSize.value / 8)
  const fields = Object.fromEntries(
    Object.entries(event.fields).map(([k, v]) => [k, typeof v === 'string' ? cut(v, max) : v]),
  )
  return {
    ...event,
    reason: event.reason === undefined ? undefined : cut(event.reason, max),
    fields,
  }
}

/** A lock: takes access away at once, everywhere, until it expires or is removed. */
import * as z from 'zod'
import { AppError } from '../errors.ts'
import type { Instant } from '../clock.ts'
import { duration } from '../duration.ts'
import { parseId, type AgentId, type LockId } from '../ids.ts'
import { handleName, userName } from './name.ts'
import { SERVICE_KINDS, type IdentityKind, type ServiceKind } from './service.ts'

export type LockTarget =
  | { readonly kind: 'user'; readonly user: string }
  | { readonly kind: 'agent'; readonly agent: AgentId }
  | { readonly kind: 'role'; readonly role: string }
  /** One service of one agent; its others go on. */
  | { readonly kind: 'service'; readonly agent: AgentId; readonly service: ServiceKind }
  /**
   * Every agent that this token let in first, and the token itself. `agents` is filled in where the lock is told to those who
   * do not know which token an agent came by: in the policy.
   */
  | { readonly kind: 'token'; readonly token: string; readonly agents?: readonly AgentId[] }

export interface Lock {
  readonly id: LockId
  readonly target: LockTarget
  readonly message: string | undefined
  readonly created: Instant
  readonly createdBy: string
  /** undefined = until removed. */
  readonly expires: Instant | undefined
}

const agentId = z.string().transform((text, ctx): AgentId => {
  const id = parseId('agent', text)
  if (id) return id
  ctx.addIssue({ code: 'custom', message: 'use an agent id as postern ls --json shows it (ag_…)' })
  return z.NEVER
})

const agentService = z.string().transform((text, ctx): { agent: AgentId; service: ServiceKind } => {
  const [name = '', kind, ...more] = text.split('/')
  const agent = parseId('agent', name)
  const service = SERVICE_KINDS.find((one) => one === kind)
  if (agent && service && more.length === 0) return { agent, service }
  ctx.addIssue({ code: 'custom', message: 'use agent id and service, as ag_…/ssh' })
  return z.NEVER
})

export const lockResource = z.strictObject({
  kind: z.literal('lock'),
  version: z.literal('v2'),
  metadata: z.strictObject({ name: z.string().optional() }).optional(),
  spec: z.strictObject({
    target: z
      .strictObject({
        user: userName,
        agent: agentId,
        role: handleName,
        service: agentService,
        token: handleName,
      })
      .partial()
      .refine(
        (t) => Object.values(t).filter((v) => v !== undefined).length === 1,
        'name exactly one of user, agent, role, service, token',
      ),
    message: z.string().max(512).optional(),
    ttl: duration.optional(),
    expires: z.iso.datetime({ offset: true }).optional(),
  }),
})

export function lockTarget(target: z.output<typeof lockResource>['spec']['target']): LockTarget {
  if (target.user !== undefined) return { kind: 'user', user: target.user }
  if (target.agent !== undefined) return { kind: 'agent', agent: target.agent }
  if (target.role !== undefined) return { kind: 'role', role: target.role }
  if (target.service !== undefined) return { kind: 'service', ...target.service }
  if (target.token !== undefined) return { kind: 'token', token: target.token }
  throw new AppError(
    'ERR_INPUT_INVALID',
    'spec.target: name exactly one of user, agent, role, service, token',
  )
}

export const lockInForce = (lock: Lock, now: Instant): boolean =>
  lock.expires === undefined || now < lock.expires

/** Whom a lock may strike: the identity of a user with the roles in force, or of an agent. */
export type LockSubject =
  | { readonly kind: 'user'; readonly user: string; readonly roles: readonly string[] }
  | {
      readonly kind: 'agent'
      readonly agent: AgentId
      /** undefined: the agent as a whole, or a proxy. */
      readonly service?: ServiceKind | undefined
    }

/** The first lock in force that strikes the subject. */
export function findLock(
  locks: readonly Lock[],
  subject: LockSubject,
  now: Instant,
): Lock | undefined {
  return locks.find((lock) => {
    if (!lockInForce(lock, now)) return false
    switch (lock.target.kind) {
      case 'user':
        return subject.kind === 'user' && subject.user === lock.target.user
      case 'role':
        return subject.kind === 'user' && subject.roles.includes(lock.target.role)
      case 'agent':
        return subject.kind === 'agent' && subject.agent === lock.target.agent
      case 'service':
        return (
          subject.kind === 'agent' &&
          subject.agent === lock.target.agent &&
          subject.service === lock.target.service
        )
      case 'token':
        return subject.kind === 'agent' && (lock.target.agents ?? []).includes(subject.agent)
    }
  })
}

/** What may strike one service of an agent that came by this token: each is asked for by itself. */
export const lockTargetsOf = (agent: {
  readonly id: AgentId
  readonly service?: IdentityKind | undefined
  readonly token?: string | undefined
}): LockTarget[] => [
  { kind: 'agent', agent: agent.id },
  ...(agent.service === undefined || agent.service === 'proxy'
    ? []
    : [{ kind: 'service', agent: agent.id, service: agent.service } as const]),
  ...(agent.token === undefined ? [] : [{ kind: 'token', token: agent.token } as const]),
]

/**
 * What an agent gives its services, with behaviour: a policy whose roles and locks a test sets, decided by the real
 * decide(), and an audit log that can be waited for.
 */
import { EventEmitter } from 'node:events'
import { decide } from '../../core/access/decide.ts'
import { systemClock, type Clock } from '../../core/clock.ts'
import type { AgentEvent, AgentEventType } from '../../core/domain/event.ts'
import type { Lock } from '../../core/domain/lock.ts'
import type { Role, RoleOptions } from '../../core/domain/role.ts'
import { newId, type AgentId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import { systemRandom } from '../../core/random.ts'
import type { ServiceContext, ServiceCredential } from '../../agent/services/service.ts'

type Audited = Omit<AgentEvent, 'key' | 'time'>

export interface FakeContext extends ServiceContext {
  /** Replaces roles, holders and locks, then tells whoever listens. */
  setPolicy(change: Partial<FakePolicy>): void
  readonly audited: readonly Audited[]
  /** The first event of the type that fits, now or later. */
  auditedOnce(type: AgentEventType, fits?: (event: Audited) => boolean): Promise<Audited>
}

export interface FakePolicy {
  readonly roles: readonly Role[]
  /** Roles each user holds now. */
  readonly users: Readonly<Record<string, readonly string[]>>
  readonly locks: readonly Lock[]
  readonly userCas: readonly Buffer[]
}

export interface FakeContextOptions {
  readonly policy: FakePolicy
  readonly credential: Omit<ServiceCredential, 'agentId'>
  readonly labels?: Readonly<Record<string, string>>
  readonly clock?: Clock
}

export function fakeServiceContext(options: FakeContextOptions): FakeContext {
  const clock = options.clock ?? systemClock
  const agentId: AgentId = newId('agent', clock.now(), systemRandom)
  const events = new EventEmitter().setMaxListeners(0)
  const audited: Audited[] = []
  let policy = options.policy
  // TEST_LOG=1 shows what the service logs.
  const show = (event: string, fields: Record<string, unknown> = {}): void => {
    if (process.env['TEST_LOG']) process.stderr.write(`${event} ${JSON.stringify(fields)}\n`)
  }
  return {
    clock,
    random: systemRandom,
    log: { info: show, warn: show, error: show },
    credential: () => ({ ...options.credential, agentId }),
    nodeLabels: () => options.labels ?? { env: 'test' },
    policy: {
      decide: (identity, want) =>
        decide({
          user: identity.user,
          traits: identity.traits,
          certificateRoles: identity.roles,
          certificateExpires: identity.expires,
          currentRoles: policy.users[identity.user] ?? [],
          roles: new Map(policy.roles.map((role) => [role.name, role])),
          locks: policy.locks,
          agentId,
          want,
          now: clock.now(),
          viewAge: 0,
          strictAge: LIMITS.policyStrict.value,
        }),
      onChange(fn) {
        events.on('change', fn)
        return () => events.off('change', fn)
      },
      userCas: () => ({ sshBlobs: policy.userCas, x509Pems: [] }),
    },
    audit(event) {
      audited.push(event)
      events.emit('audit', event)
    },
    audited,
    setPolicy(change) {
      policy = { ...policy, ...change }
      events.emit('change')
    },
    auditedOnce(type, fits = () => true) {
      const wanted = (event: Audited): boolean => event.type === type && fits(event)
      const past = audited.find(wanted)
      if (past) return Promise.resolve(past)
      return new Promise((resolve) => {
        const onAudit = (event: Audited): void => {
          if (!wanted(event)) return
          events.off('audit', onAudit)
          resolve(event)
        }
        events.on('audit', onAudit)
      })
    },
  }
}

/** A role that allows the logins everywhere. */
export function openRole(
  name: string,
  logins: readonly string[],
  options: Partial<RoleOptions> = {},
): Role {
  return {
    name,
    allow: { logins, nodeLabels: { '*': ['*'] }, appLabels: undefined, rules: [] },
    deny: { logins: [], nodeLabels: undefined, appLabels: undefined, rules: [] },
    options: {
      maxSessionTtl: undefined,
      forwardAgent: false,
      localForwarding: true,
      remoteForwarding: true,
      fileCopy: true,
      idleTimeout: undefined,
      maxSessions: undefined,
      lock: 'best_effort',
      ...options,
    },
  }
}

/**
 * What the agent's main thread answers to one SSH connection: every question goes to decide() afresh, and every answer that
 * matters stands in the audit log before it is given. The worker has no say in it beyond proving who the user is.
 */
import type { Decision, Grant, Refusal } from '../../../core/access/decide.ts'
import type { EventField } from '../../../core/domain/event.ts'
import type { Instant, Timer } from '../../../core/clock.ts'
import { instant } from '../../../core/clock.ts'
import type { ServiceContext, ServiceStream, UserIdentity } from '../service.ts'
import { fileCopyOf } from './file-copy.ts'
import type { Answer, Ask, ToMain } from './messages.ts'

/** What the user is told. No more than what they may know: not which lock, not which role. */
const LINES: Readonly<Record<Refusal, string>> = {
  'certificate expired': 'your certificate has expired; log in again',
  'user locked': 'a lock is in force; ask an operator',
  'agent locked': 'this node is locked; ask an operator',
  'no role in force': 'you may not log in here',
  'denied by role': 'you may not log in here with this login',
  'no role allows it': 'you may not log in here with this login',
  'view too old': 'this node cannot check your access at the moment',
}

export interface Gate {
  answer(ask: Ask): Answer
  report(report: Extract<ToMain, { kind: 'report' }>): void
  /** The connection has ended. */
  end(facts: { exitCode: number | undefined; bytesIn: number; bytesOut: number }): void
}

export interface GateEvents {
  /** Access was taken away while the session runs. */
  readonly onCut: (line: string) => void
  readonly onGrant: (grant: Grant) => void
}

interface Proven {
  readonly login: string
  readonly identity: UserIdentity
  readonly certificate: string
}

export function createGate(ctx: ServiceContext, stream: ServiceStream, events: GateEvents): Gate {
  const { clock, policy } = ctx
  let proven: Proven | undefined
  let begun: { at: number } | undefined
  let ended = false
  let expiry: Timer | undefined
  let unsubscribe: (() => void) | undefined

  const audit = (
    type: Parameters<typeof ctx.audit>[0]['type'],
    outcome: 'ok' | 'refused' | 'failed',
    fields: Readonly<Record<string, EventField>>,
    reason?: string,
  ): void =>
    ctx.audit({
      type,
      outcome,
      actor: stream.identity.user,
      resource: `${stream.resource.kind}/${stream.resource.name}`,
      session: stream.sessionId,
      ...(reason !== undefined && { reason }),
      fields: { ...(proven && { login: proven.login }), ...fields },
    })

  function refuse(
    line: string,
    reason: string,
    fields: Readonly<Record<string, EventField>>,
  ): Answer {
    audit('session.refused', 'refused', fields, reason)
    return { allow: false, line }
  }

  const decideNow = (who: Proven): Decision =>
    policy.decide(who.identity, { kind: 'node', labels: ctx.nodeLabels(), login: who.login })

  /** The proof is of SSH; what it allows is no more than what the stream was opened with. */
  function login(ask: Extract<Ask, { op: 'login' }>): Answer {
    const claimed = ask.identity
    const fields = { login: ask.login, certificate: ask.certificate }
    if (claimed.user !== stream.identity.user || claimed.cluster !== stream.identity.cluster)
      return refuse(LINES['no role in force'], `certificate of ${claimed.user}`, fields)
    const held = new Set(stream.identity.roles)
    const identity: UserIdentity = {
      ...claimed,
      roles: claimed.roles.filter((role) => held.has(role)),
      expires: instant(Math.min(claimed.expires, stream.identity.expires)),
    }
    if (!claimed.logins.includes(ask.login))
      return refuse(LINES['no role allows it'], 'the certificate does not name the login', fields)
    const candidate = { login: ask.login, identity, certificate: ask.certificate }
    const decision = decideNow(candidate)
    if (!decision.allow) return refuse(LINES[decision.reason], decision.why, fields)
    proven = candidate
    return { allow: true, grant: decision.grant }
  }

  /** Decides again and ends or narrows a session that runs. */
  function review(): void {
    if (!proven || ended) return
    const decision = decideNow(proven)
    if (decision.allow) return events.onGrant(decision.grant)
    audit('session.refused', 'refused', { live: true }, decision.why)
    events.onCut(LINES[decision.reason])
  }

  function begin(who: Proven, grant: Grant): Answer {
    begun = { at: clock.monotonic() }
    unsubscribe = policy.onChange(review)
    armExpiry(who.identity.expires)
    audit('session.start', 'ok', {
      certificate: who.certificate,
      stream: stream.streamId,
      source: stream.claimedSource ?? null,
      roles: who.identity.roles,
    })
    return { allow: true, grant }
  }

  /** Longer than a timer can count is waited for in steps. */
  function armExpiry(at: Instant): void {
    const left = at - clock.now()
    expiry = clock.after(Math.min(Math.max(left, 0), 0x7fff_ffff), () =>
      clock.now() < at ? armExpiry(at) : review(),
    )
  }

  return {
    answer(ask) {
      if (ask.op === 'login') return login(ask)
      if (!proven || ended) return { allow: false, line: LINES['no role in force'] }
      const decision = decideNow(proven)
      if (!decision.allow) return refuse(LINES[decision.reason], decision.why, { op: ask.op })
      const { grant } = decision
      const allowed: Answer = { allow: true, grant }
      switch (ask.op) {
        case 'begin':
          return begin(proven, grant)
        case 'session':
          if (grant.maxSessions === undefined || ask.open <= grant.maxSessions) return allowed
          return refuse(
            `at most ${grant.maxSessions} sessions at a time`,
            `session ${ask.open} of ${grant.maxSessions}`,
            {},
          )
        case 'shell':
          audit('session.exec', 'ok', { shell: true, terminal: ask.terminal })
          return allowed
        case 'exec':
          return exec(ask, grant)
        case 'subsystem':
          return subsystem(ask.name, grant)
        case 'forward':
          return forward(ask, grant)
        case 'agent':
          if (!grant.forwardAgent)
            return refuse('your role does not allow agent forwarding', 'forward_agent', {})
          audit('session.agent_forward', 'ok', {})
          return allowed
      }
    },
    report: ({ type, outcome, fields, reason }) => {
      if (!ended) audit(type, outcome, fields, reason)
    },
    end({ exitCode, bytesIn, bytesOut }) {
      if (ended) return
      expiry?.cancel()
      unsubscribe?.()
      if (begun)
        audit('session.end', 'ok', {
          duration_ms: Math.round(clock.monotonic() - begun.at),
          bytes_in: bytesIn,
          bytes_out: bytesOut,
          exit_code: exitCode ?? null,
        })
      ended = true
    },
  }

  function exec(ask: Extract<Ask, { op: 'exec' }>, grant: Grant): Answer {
    const command = shown(ask.command)
    const copy = fileCopyOf(ask.command)
    if (!copy) {
      audit('session.exec', 'ok', { command, terminal: ask.terminal })
      return { allow: true, grant }
    }
    if (!grant.fileCopy)
      return refuse('your role does not allow copying files', 'ssh_file_copy', { command })
    audit('session.file', 'ok', { command, with: copy })
    return { allow: true, grant }
  }

  function subsystem(name: string, grant: Grant): Answer {
    if (name !== 'sftp')
      return refuse('there is no such subsystem', 'unknown subsystem', { subsystem: shown(name) })
    if (!grant.fileCopy)
      return refuse('your role does not allow copying files', 'ssh_file_copy', { with: 'sftp' })
    audit('session.file', 'ok', { operation: 'start', with: 'sftp' })
    return { allow: true, grant }
  }

  function forward(ask: Extract<Ask, { op: 'forward' }>, grant: Grant): Answer {
    const fields = { direction: ask.direction, target: shown(ask.target) }
    const local = ask.direction === 'local'
    if (!(local ? grant.localForwarding : grant.remoteForwarding))
      return refuse('your role does not allow this forwarding', 'ssh_port_forwarding', fields)
    audit('session.forward', 'ok', fields)
    return { allow: true, grant }
  }
}

const SHOWN = 4096
/** Texts of users as the audit log takes them. */
const shown = (text: string): string =>
  text.length > SHOWN ? `${text.slice(0, SHOWN - 1)}…` : text

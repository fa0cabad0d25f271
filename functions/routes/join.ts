/** Joining and renewing. Every attempt that names a service is in the audit log, with the exact reason when it is refused. */
import {
  challengeRequest,
  joinRequest,
  renewRequest,
  type JoinKeyAnswer,
} from '../../core/api/join.ts'
import { iso } from '../../core/clock.ts'
import type { EventField, EventType } from '../../core/domain/event.ts'
import { isAppError, reasonOf } from '../../core/errors.ts'
import { audit, eventOf, type AuditEntry } from '../audit.ts'
import type { JoinDeps } from '../deps.ts'
import { body, sourceIp, type Ctx, type VerbApp } from '../http.ts'
import { createJoiner, type JoinTrace } from '../join/join.ts'
import { createRenewer, type RenewTrace } from '../join/renew.ts'
import { createStatements, openCall } from '../join/sealed.ts'

type Trace = JoinTrace & RenewTrace

function fieldsOf(trace: Trace): Record<string, EventField> {
  const { node, agent, expires, logged, ...rest } = trace
  return {
    ...rest,
    ...(node === undefined ? {} : { node }),
    ...(agent === undefined ? {} : { agent }),
    ...(expires === undefined ? {} : { expires: iso(expires) }),
  }
}

const entryOf = (c: Ctx, type: EventType, trace: Trace): AuditEntry => ({
  type,
  actor: trace.agent ?? sourceIp(c),
  ...(trace.node === undefined ? {} : { resource: `node/${trace.node}` }),
  fields: fieldsOf(trace),
})

/** Runs `work` and writes down how it ended, before anybody is answered. */
async function audited<T>(
  deps: JoinDeps,
  c: Ctx,
  type: EventType,
  trace: Trace,
  work: () => Promise<T>,
): Promise<T> {
  const entry = () => entryOf(c, type, trace)
  let result: T
  try {
    result = await work()
  } catch (error) {
    // Bodies that name no service were never a join; they are not worth a write to whoever sends them.
    const limited = isAppError(error) && error.code === 'ERR_RATE_LIMITED'
    if (trace.service !== undefined && !limited) {
      const outcome = isAppError(error) && error.kind.status < 500 ? 'refused' : 'failed'
      await audit(deps, c, { ...entry(), outcome, reason: reasonOf(error) })
    }
    if (trace.lock !== undefined && trace.agent !== undefined)
      await audit(deps, c, {
        type: 'lock.create',
        actor: 'postern',
        resource: `agent/${trace.agent}`,
        reason: 'copied identity',
        fields: { lock: trace.lock },
      })
    throw error
  }
  if (!trace.logged) await audit(deps, c, entry())
  return result
}

export function joinRoutes(app: VerbApp, deps: JoinDeps): void {
  const joiner = createJoiner(deps)
  const renewer = createRenewer(deps)
  const statements = createStatements(deps)
  const sealing = { joinKey: deps.joinKey, statements }

  app.get('/v1/join/key', async (c: Ctx) => {
    deps.limiter.take('anonymous', sourceIp(c))
    const answer: JoinKeyAnswer = { join_key: await statements.now() }
    return c.json(answer)
  })

  app.post('/v1/join/challenge', (c: Ctx) => {
    deps.limiter.take('anonymous', sourceIp(c))
    return c.json(joiner.challenge(body(c, challengeRequest)))
  })

  app.post('/v1/join', async (c: Ctx) => {
    deps.limiter.take('anonymous', sourceIp(c))
    const { request, answer } = await openCall(c, '/v1/join', joinRequest, sealing)
    const trace: Trace = {}
    const work = () => joiner.join(request, trace)
    return c.json(await answer(await audited(deps, c, 'agent.join', trace, work)))
  })

  app.post('/v1/renew', async (c: Ctx) => {
    deps.limiter.take('anonymous', sourceIp(c))
    const { request, answer } = await openCall(c, '/v1/renew', renewRequest, sealing)
    const trace: Trace = {}
    const told = (of: RenewTrace) => eventOf(c, entryOf(c, 'agent.renew', of))
    const work = () => renewer.renew(request, trace, told)
    return c.json(await answer(await audited(deps, c, 'agent.renew', trace, work)))
  })
}

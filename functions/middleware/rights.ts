/** What a caller may do with the kinds of the API. A refusal is in the audit log with its exact reason. */
import { permits, sidesOf } from '../../core/access/permits.ts'
import type { RuleKind, RuleVerb } from '../../core/domain/role.ts'
import { AppError } from '../../core/errors.ts'
import { audit, type AuditDeps } from '../audit.ts'
import type { CallerDeps } from '../deps.ts'
import { notFound, type Ctx } from '../http.ts'
import { callerOf } from './caller.ts'
import { actorOf, type Caller } from './callers.ts'

/** `*` asks for every kind or verb, those of later versions included. */
export function may(caller: Caller, kind: RuleKind | '*', verb: RuleVerb | '*'): boolean {
  switch (caller.kind) {
    case 'operator':
      return (
        permits([{ allow: caller.key.scopes, deny: [] }], kind, verb) &&
        permits(sidesOf(caller.roles), kind, verb)
      )
    case 'workload':
    case 'user':
      return permits(sidesOf(caller.roles), kind, verb)
    case 'agent':
    case 'proxy':
      return false
  }
}

type Deps = CallerDeps & AuditDeps

async function require(
  deps: Deps,
  c: Ctx,
  right: { readonly kind: RuleKind; readonly verb: RuleVerb; readonly answer: () => AppError },
): Promise<Caller> {
  const caller = await callerOf(deps, c)
  const { kind, verb } = right
  if (may(caller, kind, verb)) return caller
  await audit(deps, c, {
    type: 'operator.refused',
    outcome: 'refused',
    actor: actorOf(caller),
    reason: `may not ${verb} ${kind}`,
    fields: { call: `${c.req.method} ${c.req.path}` },
  })
  throw right.answer()
}

/** For calls on a whole collection, whose existence is no secret: 403. */
export const requireRight = (deps: Deps, c: Ctx, kind: RuleKind, verb: RuleVerb): Promise<Caller> =>
  require(deps, c, {
    kind,
    verb,
    answer: () => new AppError('ERR_FORBIDDEN', undefined, { internal: `may not ${verb} ${kind}` }),
  })

/** For calls on one thing: who may not gets what they would get if it were not there. */
export const requireRightOn = (
  deps: Deps,
  c: Ctx,
  kind: RuleKind,
  verb: RuleVerb,
): Promise<Caller> => require(deps, c, { kind, verb, answer: notFound })

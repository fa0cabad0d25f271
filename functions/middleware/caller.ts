/**
 * Who calls: a bearer of an API key or of an id token, or an identity that proves possession of its certificate's key by a signed
 * request. Locks and removals are read strongly consistent at every call, so they hold at once. Why a proof failed goes to the
 * log and, where it is known whose it claims to be, to the audit log.
 */
import type { AgentIdentity, ProxyIdentity, UserIdentity } from '../../core/certs/identity.ts'
import { verifySignedRequest, type SignedRequest } from '../../core/certs/signed-request.ts'
import { plus, type Instant } from '../../core/clock.ts'
import { findLock, lockTargetsOf } from '../../core/domain/lock.ts'
import { AppError, isAppError, reasonOf, type ErrorCode } from '../../core/errors.ts'
import { agentIdOf } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import { audit } from '../audit.ts'
import type { CallerDeps } from '../deps.ts'
import { pathAndQuery, sourceIp, type Ctx } from '../http.ts'
import { bearerCaller, type CallerTrace } from './bearer.ts'
import {
  principalOf,
  type AgentCaller,
  type Caller,
  type ProxyCaller,
  type UserCaller,
} from './callers.ts'

const WRITES = new Set(['POST', 'PUT', 'DELETE', 'PATCH'])

async function userCaller(
  deps: CallerDeps,
  identity: UserIdentity,
  now: Instant,
): Promise<UserCaller> {
  const [user, locks] = await Promise.all([
    deps.stores.users.get(identity.user),
    deps.stores.locks.list(now),
  ])
  if (!user)
    throw new AppError('ERR_UNAUTHENTICATED', undefined, { internal: 'the user was removed' })
  const held = identity.roles.filter((role) => user.roles.includes(role))
  if (findLock(locks, { kind: 'user', user: identity.user, roles: held }, now))
    throw new AppError('ERR_LOCKED')
  const roles = await Promise.all(held.map((name) => deps.stores.roles.get(name)))
  return { kind: 'user', identity, user, locks, roles: roles.filter((r) => r !== undefined) }
}

async function agentCaller(
  deps: CallerDeps,
  identity: AgentIdentity,
  now: Instant,
): Promise<AgentCaller> {
  const { agentId: id, service } = identity
  const [agent, identities, locks] = await Promise.all([
    deps.stores.agents.get(id),
    deps.stores.agents.identities(id),
    deps.stores.locks.onAny(lockTargetsOf({ id, service }), now),
  ])
  if (locks.length > 0) throw new AppError('ERR_LOCKED')
  if (
    agent &&
    (await deps.stores.locks.on({ kind: 'token', token: agent.tokenName }, now)).length > 0
  )
    throw new AppError('ERR_LOCKED')
  if (!agent)
    throw new AppError('ERR_UNAUTHENTICATED', undefined, { internal: 'the agent was removed' })
  if (!identities.some((one) => one.service === service))
    throw new AppError('ERR_UNAUTHENTICATED', undefined, { internal: 'the service was removed' })
  return { kind: 'agent', identity }
}

/** A proxy that joined is locked as an agent is. The one of `postern up` has no row, so that is not asked for. */
async function proxyCaller(
  deps: CallerDeps,
  identity: ProxyIdentity,
  now: Instant,
): Promise<ProxyCaller> {
  const agent = agentIdOf(identity.proxyId)
  const locks = await deps.stores.locks.on({ kind: 'agent', agent }, now)
  if (locks.length > 0) throw new AppError('ERR_LOCKED')
  return { kind: 'proxy', identity }
}

/** A signed write is spent, so that whoever recorded it cannot send it again. */
async function spend(deps: CallerDeps, signed: SignedRequest, now: Instant): Promise<void> {
  const until = plus(signed.iat, 2 * LIMITS.proofWindow.value)
  const scope = `request#${signed.certificate.thumbprint}`
  if (!(await deps.stores.replay.spend(scope, signed.jti, until, now)))
    throw new AppError('ERR_PROOF_INVALID', undefined, { internal: 'the request was replayed' })
}

async function identify(deps: CallerDeps, c: Ctx, trace: CallerTrace): Promise<Caller> {
  const header = c.req.header('authorization') ?? ''
  const now = deps.clock.now()
  if (header.length > LIMITS.idToken.value + 16) throw new AppError('ERR_UNAUTHENTICATED')
  const bearer = /^Bearer ([\x21-\x7e]+)$/i.exec(header)?.[1]
  if (bearer !== undefined) return bearerCaller(deps, bearer, now, trace)
  if (!/^Postern /i.test(header)) throw new AppError('ERR_UNAUTHENTICATED')
  const signed = await verifySignedRequest(header, {
    method: c.req.method,
    origins: deps.origins(),
    pathAndQuery: pathAndQuery(c.req.url),
    body: c.get('body'),
    cluster: deps.cluster,
    roots: deps.cas.now,
    now,
  })
  const { identity } = signed
  if (identity.kind !== 'proxy') deps.limiter.take('caller', nameOf(identity))
  if (deps.serves && !deps.serves.includes(identity.kind)) throw new AppError('ERR_FORBIDDEN')
  if (WRITES.has(c.req.method)) await spend(deps, signed, now)
  switch (identity.kind) {
    case 'user':
      return userCaller(deps, identity, now)
    case 'agent':
      return agentCaller(deps, identity, now)
    case 'proxy':
      return proxyCaller(deps, identity, now)
  }
}

const nameOf = (identity: UserIdentity | AgentIdentity): string =>
  identity.kind === 'user' ? `user/${identity.user}` : principalOf({ kind: 'agent', identity })

/** What somebody who guesses gets to see. */
const GUESSES: ReadonlySet<ErrorCode> = new Set(['ERR_UNAUTHENTICATED', 'ERR_PROOF_INVALID'])

/** Refused callers of which it is known who they are, or say they are: not by what the network alone sent. */
async function refused(
  deps: CallerDeps,
  c: Ctx,
  trace: CallerTrace,
  error: unknown,
): Promise<never> {
  const code = isAppError(error) ? error.code : undefined
  // Guessing is slowed by address; who proves something is never slowed by others' guesses.
  if (code !== undefined && GUESSES.has(code)) deps.limiter.take('anonymous', sourceIp(c))
  const { actor, ...fields } = trace
  if (actor !== undefined && code !== 'ERR_RATE_LIMITED' && deps.stores.events)
    await audit({ stores: { events: deps.stores.events } }, c, {
      type: 'operator.refused',
      outcome: 'refused',
      actor,
      reason: reasonOf(error),
      fields: { ...fields, call: `${c.req.method} ${c.req.path}` },
    })
  throw error
}

/** The caller of this request. Throws ERR_UNAUTHENTICATED, ERR_PROOF_INVALID, ERR_CLOCK, ERR_LOCKED, ERR_RATE_LIMITED. */
export function callerOf(deps: CallerDeps, c: Ctx): Promise<Caller> {
  const known = c.get('caller')
  if (known) return known
  const trace: CallerTrace = {}
  const found = identify(deps, c, trace).then(
    (caller) => {
      c.set('identified', caller)
      return caller
    },
    (error: unknown) => refused(deps, c, trace, error),
  )
  c.set('caller', found)
  return found
}

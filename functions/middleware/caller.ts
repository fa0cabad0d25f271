/**
 * Who calls: an operator's API key, or an identity that proves possession of its certificate's key by a signed request. Locks
 * and removals are read strongly consistent at every call, so they hold at once. Why a proof failed goes to the log alone.
 */
import { createHash } from 'node:crypto'
import { permits, sidesOf } from '../../core/access/permits.ts'
import type { AgentIdentity, ProxyIdentity, UserIdentity } from '../../core/certs/identity.ts'
import { verifySignedRequest, type SignedRequest } from '../../core/certs/signed-request.ts'
import { plus, type Instant } from '../../core/clock.ts'
import { findLock, lockTargetsOf, type Lock } from '../../core/domain/lock.ts'
import type { Role, RuleKind, RuleVerb } from '../../core/domain/role.ts'
import type { User } from '../../core/domain/user.ts'
import { AppError, isAppError, type ErrorCode } from '../../core/errors.ts'
import { agentIdOf } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import type { CallerDeps } from '../deps.ts'
import { notFound, pathAndQuery, sourceIp, type Ctx } from '../http.ts'
import type { ApiKey } from '../store/api-key-store.ts'

export interface OperatorCaller {
  readonly kind: 'operator'
  readonly key: ApiKey
}
export interface UserCaller {
  readonly kind: 'user'
  readonly identity: UserIdentity
  /** As the table has the user now. */
  readonly user: User
  /** Roles in the certificate that the user still holds. */
  readonly roles: readonly Role[]
  readonly locks: readonly Lock[]
}
export interface AgentCaller {
  readonly kind: 'agent'
  readonly identity: AgentIdentity
}
export interface ProxyCaller {
  readonly kind: 'proxy'
  readonly identity: ProxyIdentity
}
export type Caller = OperatorCaller | UserCaller | AgentCaller | ProxyCaller

/** Who it is, in one text that no other caller has: the owner of idempotency keys. */
export function principalOf(caller: Caller): string {
  switch (caller.kind) {
    case 'operator':
      return `key/${caller.key.id}`
    case 'user':
      return `user/${caller.identity.user}`
    case 'agent':
      return `agent/${caller.identity.agentId}/${caller.identity.service}`
    case 'proxy':
      return `proxy/${caller.identity.proxyId}`
  }
}

/** The actor in the audit log: a user's name, an agent's or proxy's id, or `key/<name>`, which no user's name looks like. */
export function actorOf(caller: Caller): string {
  switch (caller.kind) {
    case 'operator':
      return `key/${caller.key.name}`
    case 'user':
      return caller.identity.user
    case 'agent':
      return caller.identity.agentId
    case 'proxy':
      return caller.identity.proxyId
  }
}

/** Secrets of API keys: `pst_key_` and 43 base64url characters. */
export const apiKeyHash = (secret: string): string =>
  createHash('sha256').update(secret, 'utf8').digest('base64url')

const WRITES = new Set(['POST', 'PUT', 'DELETE', 'PATCH'])

async function operator(deps: CallerDeps, secret: string, now: Instant): Promise<Caller> {
  if (!/^pst_key_[A-Za-z0-9_-]{43}$/.test(secret)) throw new AppError('ERR_UNAUTHENTICATED')
  const key = await deps.stores.apiKeys.byHash(apiKeyHash(secret), now)
  if (!key)
    throw new AppError('ERR_UNAUTHENTICATED', undefined, { internal: 'unknown or expired key' })
  const locks = await deps.stores.locks.on({ kind: 'user', user: key.owner }, now)
  if (locks.length > 0) throw new AppError('ERR_LOCKED')
  return { kind: 'operator', key }
}

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

async function identify(deps: CallerDeps, c: Ctx): Promise<Caller> {
  const header = c.req.header('authorization') ?? ''
  const now = deps.clock.now()
  const bearer = /^Bearer (\S{1,512})$/i.exec(header)?.[1]
  if (bearer !== undefined) return operator(deps, bearer, now)
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
  if (WRITES.has(c.req.method)) await spend(deps, signed, now)
  switch (signed.identity.kind) {
    case 'user':
      return userCaller(deps, signed.identity, now)
    case 'agent':
      return agentCaller(deps, signed.identity, now)
    case 'proxy':
      return proxyCaller(deps, signed.identity, now)
  }
}

/** The caller of this request. Throws ERR_UNAUTHENTICATED, ERR_PROOF_INVALID, ERR_CLOCK, ERR_LOCKED. */
export function callerOf(deps: CallerDeps, c: Ctx): Promise<Caller> {
  const known = c.get('caller')
  if (known) return known
  const found = identify(deps, c).catch((error: unknown) => {
    // Guessing is slowed by address; who proves something is never slowed by others' guesses.
    if (isAppError(error) && GUESSES.has(error.code)) deps.limiter.take('anonymous', sourceIp(c))
    throw error
  })
  c.set('caller', found)
  return found
}

const GUESSES: ReadonlySet<ErrorCode> = new Set(['ERR_UNAUTHENTICATED', 'ERR_PROOF_INVALID'])

export function may(caller: Caller, kind: RuleKind, verb: RuleVerb): boolean {
  switch (caller.kind) {
    case 'operator':
      return permits([{ allow: caller.key.scopes, deny: [] }], kind, verb)
    case 'user':
      return permits(sidesOf(caller.roles), kind, verb)
    case 'agent':
    case 'proxy':
      return false
  }
}

/** For calls on a whole collection, whose existence is no secret: 403. */
export async function requireRight(
  deps: CallerDeps,
  c: Ctx,
  kind: RuleKind,
  verb: RuleVerb,
): Promise<Caller> {
  const caller = await callerOf(deps, c)
  if (!may(caller, kind, verb))
    throw new AppError('ERR_FORBIDDEN', undefined, {
      internal: `${principalOf(caller)} may not ${verb} ${kind}`,
    })
  return caller
}

/** For calls on one thing: who may not gets what they would get if it were not there. */
export async function requireRightOn(
  deps: CallerDeps,
  c: Ctx,
  kind: RuleKind,
  verb: RuleVerb,
): Promise<Caller> {
  const caller = await callerOf(deps, c)
  if (!may(caller, kind, verb)) throw notFound()
  return caller
}

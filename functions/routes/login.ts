/** Signing in and fresh user certificates. Every refusal has one public answer; the audit log has the reason. */
import {
  certRequest,
  passwordLogin,
  type CertRequest,
  type PasswordLogin,
  type UserCertificates,
} from '../../core/api/login.ts'
import { iso, seconds, type Instant } from '../../core/clock.ts'
import { findLock } from '../../core/domain/lock.ts'
import type { Role } from '../../core/domain/role.ts'
import type { User } from '../../core/domain/user.ts'
import { AppError, badField } from '../../core/errors.ts'
import { decodeKey } from '../../core/join/messages.ts'
import { audit } from '../audit.ts'
import type { LoginDeps } from '../deps.ts'
import { body, notFound, sourceIp, type Ctx, type VerbApp } from '../http.ts'
import { issueUserCertificates, type IssuedUserCertificates } from '../login/user-certificates.ts'
import { callerOf } from '../middleware/caller.ts'
import {
  actorOf,
  type Caller,
  type OperatorCaller,
  type UserCaller,
} from '../middleware/callers.ts'
import { may } from '../middleware/rights.ts'

const rolesOf = async (deps: LoginDeps, user: User): Promise<Role[]> => {
  const roles = await Promise.all(user.roles.map((name) => deps.stores.roles.get(name)))
  return roles.filter((role) => role !== undefined)
}

const fieldsOf = (issued: IssuedUserCertificates) => ({
  serial: issued.serial,
  key: issued.key,
  logins: [...issued.logins],
  roles: [...issued.roles],
  expires: iso(issued.expires),
})

const answerOf = (
  deps: LoginDeps,
  user: User,
  issued: IssuedUserCertificates,
): UserCertificates => ({
  cluster: deps.cluster,
  user: user.name,
  x509: issued.x509,
  ssh: issued.ssh,
  roles: [...issued.roles],
  logins: [...issued.logins],
  expires: seconds(issued.expires),
  proxies: [...deps.proxies()],
  ca_version: deps.cas.now.version,
})

/** Who signed in, or why not. The password is checked in every case, so that each takes as long. */
async function signIn(
  deps: LoginDeps,
  { user: name, password }: PasswordLogin,
): Promise<User | string> {
  const { stores, clock } = deps
  const [user, hash] = await Promise.all([stores.users.get(name), stores.users.passwordHash(name)])
  const right = await deps.passwords.verify(password, hash)
  if (!user) return 'no such user'
  if (hash === undefined) return 'the user has no password'
  if (!right) return 'wrong password'
  const now = clock.now()
  const subject = { kind: 'user', user: name, roles: user.roles } as const
  return findLock(await stores.locks.list(now), subject, now) ? 'locked' : user
}

/** Who may ask for certificates at all: known before anything of the request is read. */
function requireAsker(caller: Caller): UserCaller | OperatorCaller {
  if (caller.kind === 'user') return caller
  if (caller.kind === 'operator' && may(caller, 'user', 'update')) return caller
  throw new AppError('ERR_FORBIDDEN')
}

/** Whose certificate the caller may ask for, and until when. */
async function subjectOf(
  deps: LoginDeps,
  caller: UserCaller | OperatorCaller,
  asked: CertRequest,
): Promise<{ user: User; notAfter?: Instant }> {
  if (caller.kind === 'user') {
    if (asked.user !== undefined && asked.user !== caller.identity.user)
      throw new AppError('ERR_FORBIDDEN', 'users ask for certificates of their own only')
    return { user: caller.user, notAfter: caller.identity.expires }
  }
  if (asked.user === undefined) throw badField('user', 'name the user')
  const user = await deps.stores.users.get(asked.user)
  if (!user) throw notFound()
  return { user }
}

export function loginRoutes(app: VerbApp, deps: LoginDeps): void {
  app.post('/v1/login/password', async (c: Ctx) => {
    deps.limiter.take('anonymous', sourceIp(c))
    const asked = body(c, passwordLogin)
    deps.limiter.take('login', asked.user)
    const publicKey = decodeKey(asked.public_key, 'public_key')
    const resource = `user/${asked.user}`
    const user = await signIn(deps, asked)
    if (typeof user === 'string') {
      await audit(deps, c, {
        type: 'user.login',
        outcome: 'refused',
        actor: asked.user,
        resource,
        reason: user,
      })
      throw new AppError('ERR_LOGIN_FAILED', undefined, { internal: user })
    }
    const roles = await rolesOf(deps, user)
    const issued = await issueUserCertificates(deps, { user, roles, publicKey, ttl: asked.ttl })
    const fields = { method: 'password', ...fieldsOf(issued) }
    await audit(deps, c, { type: 'user.login', actor: user.name, resource, fields })
    return c.json(answerOf(deps, user, issued))
  })

  app.post('/v1/certs', async (c: Ctx) => {
    const caller = requireAsker(await callerOf({ ...deps, serves: ['user'] }, c))
    const asked = body(c, certRequest)
    const publicKey = decodeKey(asked.public_key, 'public_key')
    const { user, ...until } = await subjectOf(deps, caller, asked)
    const roles = await rolesOf(deps, user)
    const request = { user, roles, publicKey, ttl: asked.ttl, ...until }
    const issued = await issueUserCertificates(deps, request)
    await audit(deps, c, {
      type: 'cert.issue',
      actor: actorOf(caller),
      resource: `user/${user.name}`,
      fields: fieldsOf(issued),
    })
    return c.json(answerOf(deps, user, issued))
  })
}

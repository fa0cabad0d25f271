/**
 * Bearer credentials: an API key, or an id token of an issuer that a connector trusts. Owner, roles, locks and connectors are read
 * strongly consistent at every call, so that what was taken away is gone at once.
 */
import { apiKeyHash, isKeySecret } from '../../core/domain/api-key.ts'
import { rolesOf, type OidcConnector } from '../../core/domain/oidc-connector.ts'
import type { Role } from '../../core/domain/role.ts'
import type { Instant } from '../../core/clock.ts'
import { AppError, isAppError, reasonOf } from '../../core/errors.ts'
import { claim, type Claims } from '../../core/join/oidc/claims.ts'
import { parseJwks } from '../../core/join/oidc/jwks.ts'
import { ANY } from '../../core/join/oidc/preset.ts'
import { verifyIdToken, type IdToken } from '../../core/join/oidc/verify.ts'
import { LIMITS } from '../../core/limits.ts'
import { parseJson } from '../../core/strict-json.ts'
import type { CallerDeps } from '../deps.ts'
import { actorOf, principalOf, type OperatorCaller, type WorkloadCaller } from './callers.ts'

/** Of a caller that is refused: who it is, as far as that is known. For the audit log. */
export interface CallerTrace {
  actor?: string
  issuer?: string
  subject?: string
  key?: string
}

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_UNAUTHENTICATED', undefined, { internal, cause })

/** Roles by name; those that are not there any more grant nothing. Throws ERR_LOCKED when one of them is locked. */
async function heldRoles(
  deps: CallerDeps,
  names: readonly string[],
  now: Instant,
): Promise<readonly Role[]> {
  const found = await Promise.all(
    names.map(async (name) => {
      const [role, locks] = await Promise.all([
        deps.stores.roles.get(name),
        deps.stores.locks.on({ kind: 'role', role: name }, now),
      ])
      if (locks.length > 0)
        throw new AppError('ERR_LOCKED', undefined, { internal: `role ${name} is locked` })
      return role
    }),
  )
  return found.filter((role) => role !== undefined)
}

async function keyCaller(
  deps: CallerDeps,
  secret: string,
  now: Instant,
  trace: CallerTrace,
): Promise<OperatorCaller> {
  const key = await deps.stores.apiKeys.byHash(apiKeyHash(secret), now)
  if (!key) throw refuse('unknown, revoked or expired API key')
  deps.limiter.take('caller', `key/${key.id}`)
  trace.actor = `key/${key.name}`
  trace.key = key.id
  const [owner, locks] = await Promise.all([
    deps.stores.users.get(key.owner),
    deps.stores.locks.on({ kind: 'user', user: key.owner }, now),
  ])
  if (locks.length > 0)
    throw new AppError('ERR_LOCKED', undefined, { internal: `its owner ${key.owner} is locked` })
  if (!owner) throw refuse(`its owner ${key.owner} was removed`)
  return { kind: 'operator', key, roles: await heldRoles(deps, owner.roles, now) }
}

/** The issuer that a token names. Nobody has verified it: it only says which connectors to ask. */
function untrustedIssuer(token: string): string {
  const [, payload = '', ...rest] = token.split('.')
  if (rest.length !== 1) throw refuse('not a compact JWS')
  let claims: unknown
  try {
    claims = parseJson(Buffer.from(payload, 'base64url'))
  } catch (cause) {
    throw refuse(`id token: claims: ${reasonOf(cause)}`, cause)
  }
  const issuer =
    typeof claims === 'object' && claims !== null ? claim(claims as Claims, 'iss') : undefined
  if (typeof issuer !== 'string' || issuer.length > 512) throw refuse('id token: iss is missing')
  return issuer
}

async function verify(
  deps: CallerDeps,
  connector: OidcConnector,
  token: string,
  now: Instant,
): Promise<IdToken> {
  const { issuer, jwks, ca } = connector
  const trust = {
    issuer,
    audience: connector.audience ?? deps.cluster,
    algorithms: ANY,
    maxLife: LIMITS.connectorTokenLife.value,
  }
  const keysOf = async (kid: string | undefined) =>
    jwks === undefined
      ? ((await deps.issuerKeys?.of({ url: issuer, ca }, kid)) ?? [])
      : parseJwks(Buffer.from(jwks, 'utf8'))
  try {
    return await verifyIdToken(token, trust, keysOf, now)
  } catch (cause) {
    // The issuer did not answer: that is not the caller's fault, and it may come back.
    if (isAppError(cause) && cause.code === 'ERR_UNREACHABLE') throw cause
    throw refuse(reasonOf(cause), cause)
  }
}

/** Of several connectors that trust one issuer the first, by name, that verifies the token and gives it a role. */
async function workloadCaller(
  deps: CallerDeps,
  token: string,
  now: Instant,
  trace: CallerTrace,
): Promise<WorkloadCaller> {
  const { connectors } = deps.stores
  if (!connectors || !deps.issuerKeys) throw refuse('id tokens are not taken here')
  const issuer = untrustedIssuer(token)
  const trusting = await connectors.ofIssuer(issuer)
  if (trusting.length === 0) throw refuse(`no connector trusts the issuer ${issuer}`)
  trace.issuer = issuer
  let refused = refuse('no connector')
  for (const connector of trusting) {
    trace.actor = `oidc/${connector.name}`
    const outcome = await verify(deps, connector, token, now).catch((error: unknown) => {
      if (!isAppError(error) || error.code !== 'ERR_UNAUTHENTICATED') throw error
      return error
    })
    if (isAppError(outcome)) {
      refused = outcome
      continue
    }
    const { subject, expires, claims } = outcome
    trace.subject = subject
    const names = rolesOf(connector, claims)
    if (names.length === 0) {
      refused = refuse(`no rule of connector ${connector.name} fits ${subject}`)
      continue
    }
    const caller = {
      kind: 'workload',
      connector: connector.name,
      issuer,
      subject,
      expires,
    } as const
    trace.actor = actorOf({ ...caller, roles: [] })
    deps.limiter.take('caller', principalOf({ ...caller, roles: [] }))
    return { ...caller, roles: await heldRoles(deps, names, now) }
  }
  throw refused
}

/** Throws ERR_UNAUTHENTICATED, ERR_LOCKED, ERR_RATE_LIMITED, or ERR_UNREACHABLE when an issuer does not answer. */
export function bearerCaller(
  deps: CallerDeps,
  secret: string,
  now: Instant,
  trace: CallerTrace,
): Promise<OperatorCaller | WorkloadCaller> {
  return isKeySecret(secret)
    ? keyCaller(deps, secret, now, trace)
    : workloadCaller(deps, secret, now, trace)
}

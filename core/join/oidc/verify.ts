/**
 * One id token (a signed JWT of somebody else's issuer), checked. Every check has its own reason; the reasons are for the audit
 * log alone. JWS only, size before anything, algorithms by issuer, and the times, the audience, the issuer and the subject must
 * all be there: a library would accept a token that lacks them.
 */
import { createHash } from 'node:crypto'
import { jwsVerifyBytes, untrustedJwsHeader, type JwsAlgorithm } from '../../certs/jws.ts'
import { fromSeconds, instant, plus, type Instant } from '../../clock.ts'
import { AppError } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import { parseJson } from '../../strict-json.ts'
import { claim, text, type Claims } from './claims.ts'
import type { IssuerKey } from './jwks.ts'

/** What a token resource says of the tokens that it trusts. */
export interface Trust {
  /** Exactly this `iss`; undefined only where the keys themselves are given and the issuer has no public name. */
  readonly issuer: string | undefined
  readonly audience: string
  readonly algorithms: readonly JwsAlgorithm[]
  /** Longest life, ms; undefined = as the issuer likes. */
  readonly maxLife: number | undefined
}

export interface IdToken {
  readonly claims: Claims
  readonly subject: string
  readonly expires: Instant
  /** Hash of what was signed. Not of the whole token: an ECDSA signature has a second spelling that verifies as well. */
  readonly id: string
}

export const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_JOIN_REFUSED', undefined, { internal, cause })

const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 200) ?? 'absent'

/** Runs a check of another part whose errors mean: refused. */
async function asRefusal<T>(what: string, check: () => T | Promise<T>): Promise<T> {
  try {
    return await check()
  } catch (cause) {
    const reason = cause instanceof AppError ? (cause.internal ?? cause.message) : String(cause)
    throw refuse(`${what}: ${reason}`, cause)
  }
}

/** Header fields that would let the token bring its own key. */
const BRINGS_A_KEY = ['jku', 'jwk', 'x5u', 'x5c']

async function readHeader(token: string, trust: Trust): Promise<Claims> {
  await asRefusal('id token', () => untrustedJwsHeader(token, LIMITS.idToken.value))
  const part = Buffer.from(token.slice(0, token.indexOf('.')), 'base64url')
  const header = (await asRefusal('id token: header', () => parseJson(part))) as Claims
  for (const name of BRINGS_A_KEY)
    if (claim(header, name) !== undefined) throw refuse(`id token: header has ${name}`)
  if (claim(header, 'zip') !== undefined) throw refuse('id token: header has zip')
  const typ = claim(header, 'typ')
  // RFC 7519 section 5.1: a media type, so case does not count.
  if (typ !== undefined && !(typeof typ === 'string' && typ.toLowerCase() === 'jwt'))
    throw refuse(`id token: typ is ${shown(typ)}`)
  const alg = claim(header, 'alg')
  if (!trust.algorithms.some((allowed) => allowed === alg))
    throw refuse(`id token: algorithm ${shown(alg)} is not allowed for this issuer`)
  const kid = claim(header, 'kid')
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > 256))
    throw refuse('id token: kid is no short text')
  return header
}

function keysFor(keys: readonly IssuerKey[], header: Claims): readonly IssuerKey[] {
  const kid = text(header, 'kid')
  const named = kid === undefined ? keys : keys.filter((key) => key.kid === kid)
  if (named.length === 0) throw refuse(`id token: no key of the issuer has kid ${shown(kid)}`)
  // Trying every key would be a way to make us work; an issuer with several keys names the one it used.
  if (kid === undefined && named.length > 1)
    throw refuse('id token: it names no kid and the issuer has several keys')
  const alg = text(header, 'alg')
  const fitting = named.filter((key) => key.alg === undefined || key.alg === alg)
  if (fitting.length === 0) throw refuse(`id token: its key is not for algorithm ${shown(alg)}`)
  return fitting.slice(0, 2)
}

function time(claims: Claims, name: string): Instant | undefined {
  const value = claim(claims, name)
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || value > 1e11)
    throw refuse(`id token: ${name} is no time`)
  return instant(value * 1000)
}

function needTime(claims: Claims, name: string): Instant {
  const value = time(claims, name)
  if (value === undefined) throw refuse(`id token: ${name} is missing`)
  return value
}

function checkTimes(claims: Claims, trust: Trust, now: Instant): Instant {
  const skew = LIMITS.idTokenSkew.value
  const expires = needTime(claims, 'exp')
  const issued = needTime(claims, 'iat')
  // Several issuers send no nbf; without one a token counts from its iat.
  const notBefore = time(claims, 'nbf')
  if (now >= plus(expires, skew)) throw refuse('id token: expired')
  if (issued > plus(now, skew)) throw refuse('id token: issued in the future')
  if (notBefore !== undefined && notBefore > plus(now, skew))
    throw refuse('id token: not yet valid')
  if (expires <= issued) throw refuse('id token: it expires before it was issued')
  if (trust.maxLife !== undefined && expires - issued > trust.maxLife)
    throw refuse(`id token: lives longer than ${trust.maxLife / 1000} s`)
  return expires
}

/** RFC 7519 section 4.1.3: one text, or a list of them that names us. Compared as they are. */
function checkAudience(claims: Claims, wanted: string): void {
  const aud = claim(claims, 'aud')
  if (aud === undefined) throw refuse('id token: aud is missing')
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  if (list.length > 16 || !list.every((one) => typeof one === 'string'))
    throw refuse('id token: aud is neither a text nor a short list of texts')
  if (!list.includes(wanted))
    throw refuse(`id token: audience is ${shown(aud)}, expected ${shown(wanted)}`)
}

/** The claims, out of bytes that somebody vouched for. */
async function claimsOf(bytes: Uint8Array): Promise<Claims> {
  const parsed = await asRefusal('id token: claims', () => parseJson(bytes))
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw refuse('id token: claims are no object')
  return parsed as Claims
}

/** Whom the claims are from and for, and when. */
function checkClaims(token: string, claims: Claims, trust: Trust, now: Instant): IdToken {
  const issuer = text(claims, 'iss')
  if (issuer === undefined || issuer === '') throw refuse('id token: iss is missing')
  if (trust.issuer !== undefined && issuer !== trust.issuer)
    throw refuse(`id token: issuer is ${shown(issuer)}, expected ${shown(trust.issuer)}`)
  checkAudience(claims, trust.audience)
  const expires = checkTimes(claims, trust, now)
  const subject = text(claims, 'sub')
  if (subject === undefined || subject === '' || subject.length > 1024)
    throw refuse('id token: sub is missing or too long')
  const signed = token.slice(0, token.lastIndexOf('.'))
  const id = createHash('sha256').update(signed, 'ascii').digest('base64url')
  return { claims, subject, expires: fromSeconds(Math.ceil(expires / 1000)), id }
}

/**
 * An id token whose signature somebody else checks, its issuer: `vouch` answers once it did, and for whom. Everything that is ours to
 * check is checked all the same. Throws ERR_JOIN_REFUSED, or what `vouch` throws.
 */
export async function verifyVouched(
  token: string,
  trust: Trust,
  vouch: () => Promise<{ readonly subject: string }>,
  now: Instant,
): Promise<IdToken> {
  await readHeader(token, trust)
  const vouched = await vouch()
  const [, payload = ''] = token.split('.')
  const found = checkClaims(token, await claimsOf(Buffer.from(payload, 'base64url')), trust, now)
  if (found.subject !== vouched.subject)
    throw refuse(`id token: its issuer says that it is of ${shown(vouched.subject)}`)
  return found
}

/** Throws ERR_JOIN_REFUSED, or what `keys` throws. */
export async function verifyIdToken(
  token: string,
  trust: Trust,
  keys: (kid: string | undefined) => Promise<readonly IssuerKey[]>,
  now: Instant,
): Promise<IdToken> {
  const header = await readHeader(token, trust)
  const candidates = keysFor(await keys(text(header, 'kid')), header)
  const { bytes } = await asRefusal('id token', () =>
    jwsVerifyBytes(token, {
      keys: candidates.map(({ key }) => key),
      algorithms: trust.algorithms,
      maxBytes: LIMITS.idToken.value,
    }),
  )
  return checkClaims(token, await claimsOf(bytes), trust, now)
}

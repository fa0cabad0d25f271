/**
 * HTTP requests signed by the key of a certificate (protocols.md 3): a JWS over method, public origin, path with query, hash of
 * the body, time and audience, with the certificate in `x5c`. It needs no client TLS at a load balancer, and it does not rest
 * on the Host header, which is whatever a client wrote.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import { fromSeconds, seconds, type Instant } from '../clock.ts'
import { AppError, isAppError, reasonOf } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { systemRandom, type Random } from '../random.ts'
import { identityOf, type Identity } from './identity.ts'
import { jwsSign, jwsVerify, untrustedJwsHeader } from './jws.ts'
import type { Signer } from './signer.ts'
import { readCertificate, type Certificate } from './x509-read.ts'
import { verifyLeaf } from './x509-verify.ts'

const SIGNED_REQUEST_SCHEME = 'Postern'
const TYP = 'postern-request+jws'

const protectedHeader = z.strictObject({
  alg: z.enum(['ES256', 'EdDSA']),
  typ: z.literal(TYP),
  /** The leaf alone: the verifier has the CA, and takes none from a caller. */
  x5c: z.tuple([z.string().regex(/^[A-Za-z0-9+/]+={0,2}$/)]),
})

const claims = z.strictObject({
  /** Method, in upper case. */
  m: z.string(),
  /** Public origin that was dialled. */
  o: z.string(),
  /** Path with query, as sent. */
  p: z.string(),
  /** SHA-256 of the body, base64url; of nothing when there is none. */
  bh: z.string(),
  iat: z.int().nonnegative(),
  /** The cluster. */
  aud: z.string(),
  jti: z.string().regex(/^[\w-]{22}$/),
})

const bodyHash = (body: Uint8Array | string): string =>
  createHash('sha256').update(body).digest('base64url')

export interface RequestToSign {
  readonly method: string
  readonly url: string | URL
  /** Absent is the empty body. */
  readonly body?: Uint8Array | string
  readonly cluster: string
  readonly certificate: Certificate
  /** Of the certificate's key. */
  readonly signer: Signer
  /** Corrected by the offset learned from ERR_CLOCK. */
  readonly now: Instant
  readonly random?: Random
}

/** Value of the Authorization header. */
export async function signRequest(request: RequestToSign): Promise<string> {
  const url = new URL(request.url)
  const header = { typ: TYP, x5c: [request.certificate.raw.toString('base64')] }
  const payload: z.input<typeof claims> = {
    m: request.method.toUpperCase(),
    o: url.origin,
    p: url.pathname + url.search,
    bh: bodyHash(request.body ?? ''),
    iat: seconds(request.now),
    aud: request.cluster,
    jti: (request.random ?? systemRandom).bytes(16).toString('base64url'),
  }
  return `${SIGNED_REQUEST_SCHEME} ${await jwsSign(request.signer, header, payload)}`
}

export interface RequestToVerify {
  readonly method: string
  /** The configured public origins, as `https://access.example.com`. */
  readonly origins: readonly string[]
  /** Path with query, as received. */
  readonly pathAndQuery: string
  /** Empty when there is none. */
  readonly body: Uint8Array | string
  readonly cluster: string
  /** Agents and proxies come under the host CA, users under the user CA; neither serves for the other. */
  readonly roots: { readonly host: readonly Certificate[]; readonly user: readonly Certificate[] }
  readonly now: Instant
}

export interface SignedRequest {
  readonly identity: Identity
  readonly certificate: Certificate
  /** To be stored for writes, so that a request cannot be sent twice. */
  readonly jti: string
  readonly iat: Instant
}

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `signed request: ${internal}`, cause })

function tokenOf(header: string): string {
  // Checked before the header is cut, decoded or parsed in any way.
  if (header.length > LIMITS.signedRequest.value) throw refuse('too large')
  const [scheme, token, ...more] = header.split(' ')
  if (scheme !== SIGNED_REQUEST_SCHEME || !token || more.length > 0) throw refuse('scheme')
  return token
}

/** The certificate of the caller, held against the CA that its kind of identity comes under. */
function callerOf(
  token: string,
  request: RequestToVerify,
): { certificate: Certificate; identity: Identity } {
  const header = protectedHeader.safeParse(untrustedJwsHeader(token, LIMITS.signedRequest.value))
  if (!header.success) throw refuse('protected header', header.error)
  const certificate = readCertificate(Buffer.from(header.data.x5c[0], 'base64'))
  const identity = identityOf(certificate)
  const roots = identity.kind === 'user' ? request.roots.user : request.roots.host
  verifyLeaf(certificate, { roots, now: request.now, usage: 'client' })
  if (identity.cluster !== request.cluster) throw refuse('identity of another cluster')
  return { certificate, identity }
}

/**
 * What a path with query means once it is decoded, as routes and queries read it. API Gateway's HTTP APIs hand on the path decoded
 * (`/v1/users/ann@example.com` for `…/ann%40example.com`), so that texts differ where nothing else does. Equal meanings go to the same
 * route with the same parameters, which is all that the signature has to hold. undefined where it cannot be decoded.
 */
function meaningOf(pathAndQuery: string): string | undefined {
  const [path = '', ...query] = pathAndQuery.split('?')
  try {
    const segments = path.split('/').map(decodeURIComponent)
    return JSON.stringify([segments, [...new URLSearchParams(query.join('?'))]])
  } catch {
    return undefined
  }
}
function sameTarget(signed: string, received: string): boolean {
  const meaning = meaningOf(signed)
  return meaning !== undefined && meaning === meaningOf(received)
}

function checkClaims(payload: unknown, request: RequestToVerify): { jti: string; iat: Instant } {
  const result = claims.safeParse(payload)
  if (!result.success) throw refuse('claims', result.error)
  const { m, o, p, bh, iat, aud, jti } = result.data
  if (aud !== request.cluster) throw refuse('audience')
  if (m !== request.method.toUpperCase()) throw refuse('method')
  if (!request.origins.includes(o)) throw refuse('origin')
  if (p !== request.pathAndQuery && !sameTarget(p, request.pathAndQuery))
    throw refuse('path or query')
  if (bh !== bodyHash(request.body)) throw refuse('body')
  const signedAt = fromSeconds(iat)
  if (Math.abs(request.now - signedAt) > LIMITS.proofWindow.value)
    throw new AppError('ERR_CLOCK', undefined, {
      details: { serverTime: request.now },
      internal: `signed request: made at ${iat}`,
    })
  return { jti, iat: signedAt }
}

/** Throws ERR_CLOCK (details.serverTime) for an honest caller whose clock is off, ERR_PROOF_INVALID for all else. */
export async function verifySignedRequest(
  header: string,
  request: RequestToVerify,
): Promise<SignedRequest> {
  try {
    const token = tokenOf(header)
    const { certificate, identity } = callerOf(token, request)
    const { payload } = await jwsVerify(token, {
      keys: [certificate.publicKey],
      algorithms: [certificate.algorithm],
      typ: TYP,
      maxBytes: LIMITS.signedRequest.value,
    })
    return { identity, certificate, ...checkClaims(payload, request) }
  } catch (e) {
    if (isAppError(e) && (e.code === 'ERR_CLOCK' || e.code === 'ERR_PROOF_INVALID')) throw e
    throw refuse(reasonOf(e), e)
  }
}

/**
 * What an OPEN asks for (SPEC.md section 6). The route finds the way and the offer says, signed by the user, what the stream
 * is for; neither grants anything: TLS or SSH inside the stream does.
 */
import { createHash, generateKeyPairSync } from 'node:crypto'
import * as z from 'zod'
import { fromSeconds, seconds, type Instant } from '../clock.ts'
import { resourceName } from '../domain/name.ts'
import { RESOURCE_KINDS, SERVICE_KINDS, serviceOfResource } from '../domain/service.ts'
import { AppError, reasonOf } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { parse } from '../parse.ts'
import { systemRandom, type Random } from '../random.ts'
import { parseJson } from '../strict-json.ts'
import { identityOf, type UserIdentity } from '../certs/identity.ts'
import { jwsSign, jwsVerify, untrustedJwsHeader } from '../certs/jws.ts'
import { readCertificate, type Certificate } from '../certs/x509-read.ts'
import { verifyLeaf } from '../certs/x509-verify.ts'
import type { OwnIdentity } from './handshake.ts'

const jws = z
  .string()
  .max(LIMITS.openPayload.value)
  .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, 'use a compact JWS')
const STREAM_KINDS = SERVICE_KINDS.filter((kind) => kind !== 'discovery')
const streamKind = z.enum(STREAM_KINDS)

const resourceOpen = z.strictObject({
  v: z.literal(1),
  /** The service of the agent that is to answer. */
  kind: streamKind,
  /** Route JWS of the control plane. */
  route: jws,
  /** Offer JWS of the user. */
  offer: jws,
  /** Added by the proxy for the audit log: UNTRUSTED by the agent. */
  peer: z.strictObject({ ip: z.string().max(64) }).optional(),
})
const policyOpen = z.strictObject({
  v: z.literal(1),
  kind: z.literal('policy'),
  /** Version the proxy holds, so that an agent that has it may refuse. Untrusted. */
  hint: z.int().min(0).optional(),
})
const openRequest = z.discriminatedUnion('kind', [resourceOpen, policyOpen])

export type ResourceOpen = z.output<typeof resourceOpen>
/** Proxy to agent: DATA of the stream is the signed policy JWS, then FIN. */
export type PolicyOpen = z.output<typeof policyOpen>
export type OpenRequest = z.output<typeof openRequest>

/** Throws ERR_INPUT_TOO_LARGE. */
export function encodeOpen(request: OpenRequest): Buffer {
  const payload = Buffer.from(JSON.stringify(request), 'utf8')
  if (payload.length > LIMITS.openPayload.value) throw tooLarge()
  return payload
}

/** Throws ERR_INPUT_INVALID or ERR_INPUT_TOO_LARGE. */
export function decodeOpen(payload: Buffer): OpenRequest {
  if (payload.length > LIMITS.openPayload.value) throw tooLarge()
  return parse(openRequest, parseJson(payload))
}

const tooLarge = () =>
  new AppError('ERR_INPUT_TOO_LARGE', 'The request to open a stream is too large')

export const OFFER_TYP = 'postern-offer+jws'

const base64url = z.string().regex(/^[A-Za-z0-9_-]+$/)
const offer = z.strictObject({
  /** Stream id: 16 random bytes. It outlives the connection once streams are resumable. */
  sid: base64url.length(22),
  jti: base64url.length(22),
  /** SHA-256 of the route JWS. */
  route: base64url.length(43),
  kind: streamKind,
  resource: z.strictObject({ kind: z.enum(RESOURCE_KINDS), name: resourceName }),
  /** Ephemeral X25519 public key, 32 raw bytes; kept for resumption. */
  x25519: base64url.length(43),
  aud: resourceName,
  iat: z.int(),
  exp: z.int(),
})
/** Payload of the offer. Texts are base64url, times epoch seconds. */
export type Offer = z.output<typeof offer>

export interface OfferRequest {
  readonly cluster: string
  readonly route: string
  readonly resource: Offer['resource']
  /** Default: the service that serves this kind of resource. */
  readonly kind?: Offer['kind'] | undefined
  readonly identity: OwnIdentity
  readonly now: Instant
  readonly random?: Random | undefined
}
export interface SignedOffer {
  readonly jws: string
  readonly offer: Offer
  /** PKCS #8 DER of the ephemeral key, never sent. */
  readonly ephemeralKey: Buffer
}

const hashOf = (route: string) => createHash('sha256').update(route).digest('base64url')

export async function signOffer(request: OfferRequest): Promise<SignedOffer> {
  const { resource, identity, now } = request
  const random = request.random ?? systemRandom
  const kind = request.kind ?? serviceOfResource(resource.kind)
  if (kind === 'discovery')
    throw new AppError('ERR_INPUT_INVALID', 'kind: discovery has no streams')
  const keys = generateKeyPairSync('x25519')
  const signed: Offer = {
    sid: random.bytes(16).toString('base64url'),
    jti: random.bytes(16).toString('base64url'),
    route: hashOf(request.route),
    kind,
    resource,
    // The raw key is the last 32 bytes of the SPKI (RFC 8410 section 4).
    x25519: keys.publicKey
      .export({ type: 'spki', format: 'der' })
      .subarray(-32)
      .toString('base64url'),
    aud: request.cluster,
    iat: seconds(now),
    exp: seconds(now) + LIMITS.offerTtl.value / 1000,
  }
  const header = { typ: OFFER_TYP, x5c: [identity.certificate.raw.toString('base64')] }
  return {
    jws: await jwsSign(identity.signer, header, signed),
    offer: signed,
    ephemeralKey: keys.privateKey.export({ type: 'pkcs8', format: 'der' }),
  }
}

export interface OfferCheck {
  readonly cluster: string
  /** The route of the same OPEN; its hash must be in the offer. */
  readonly route: string
  readonly kind: Offer['kind']
  readonly userCas: readonly Certificate[]
  readonly now: Instant
}
export interface VerifiedOffer {
  readonly identity: UserIdentity
  readonly certificate: Certificate
  readonly offer: Offer
}

const broken = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `offer: ${internal}`, cause })

const offerHeader = z.object({
  typ: z.literal(OFFER_TYP),
  x5c: z.tuple([z.base64().max(Math.ceil((LIMITS.certSize.value * 4) / 3) + 4)]),
})

/**
 * Throws ERR_PROOF_INVALID or ERR_CLOCK; the exact reason is in `internal`. The caller still compares `offer.resource` with
 * the route's, and remembers `jti` if the same offer twice would matter.
 */
export async function verifyOffer(text: string, check: OfferCheck): Promise<VerifiedOffer> {
  const maxBytes = LIMITS.openPayload.value
  const header = offerHeader.safeParse(untrustedJwsHeader(text, maxBytes))
  if (!header.success) throw broken('header', header.error)
  const { certificate, identity } = userOf(header.data.x5c[0], check)
  const { payload } = await jwsVerify(text, {
    keys: [certificate.publicKey],
    algorithms: ['ES256', 'EdDSA'],
    typ: OFFER_TYP,
    maxBytes,
  })
  const claims = offer.safeParse(payload)
  if (!claims.success) throw broken('claims', claims.error)
  checkClaims(claims.data, check)
  return { identity, certificate, offer: claims.data }
}

function userOf(
  encoded: string,
  check: OfferCheck,
): { certificate: Certificate; identity: UserIdentity } {
  try {
    const certificate = readCertificate(Buffer.from(encoded, 'base64'))
    verifyLeaf(certificate, { roots: check.userCas, now: check.now, usage: 'client' })
    const identity = identityOf(certificate)
    if (identity.kind !== 'user') throw broken(`signed by a certificate of kind ${identity.kind}`)
    if (identity.cluster !== check.cluster) throw broken('user of another cluster')
    return { certificate, identity }
  } catch (e) {
    throw broken(reasonOf(e), e)
  }
}

function checkClaims(claims: Offer, check: OfferCheck): void {
  if (claims.aud !== check.cluster) throw broken('audience')
  if (claims.kind !== check.kind) throw broken(`for ${claims.kind}, not ${check.kind}`)
  if (claims.route !== hashOf(check.route)) throw broken('for another route')
  if (serviceOfResource(claims.resource.kind) !== claims.kind)
    throw broken(`${claims.resource.kind} is not a resource of ${claims.kind}`)
  if (claims.exp - claims.iat > LIMITS.offerTtl.value / 1000) throw broken('lives too long')
  const early = fromSeconds(claims.iat) - check.now
  const late = check.now - fromSeconds(claims.exp)
  if (early > LIMITS.proofWindow.value || late > 0)
    throw new AppError('ERR_CLOCK', undefined, {
      details: { serverTime: check.now },
      internal: `offer: made at ${claims.iat}, ends at ${claims.exp}`,
    })
}

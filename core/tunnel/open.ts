/**
 * What an OPEN asks for (SPEC.md section 6). The route finds the way and the offer says, signed by the user, what the stream
 * is for; neither grants anything: TLS or SSH inside the stream does.
 */
import { generateKeyPairSync } from 'node:crypto'
import * as z from 'zod'
import type { Instant } from '../clock.ts'
import { resourceName } from '../domain/name.ts'
import { RESOURCE_KINDS, SERVICE_KINDS, serviceOfResource } from '../domain/service.ts'
import { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { parse } from '../parse.ts'
import { systemRandom, type Random } from '../random.ts'
import { parseJson } from '../strict-json.ts'
import type { UserIdentity } from '../certs/identity.ts'
import type { Certificate } from '../certs/x509-read.ts'
import type { OwnIdentity } from './handshake.ts'
import {
  badUserJws,
  base64url,
  commonClaims,
  signAsUser,
  userClaims,
  verifyAsUser,
} from './user-jws.ts'

const jws = z
  .string()
  .max(LIMITS.openPayload.value)
  .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, 'use a compact JWS')
const STREAM_KINDS = SERVICE_KINDS.filter((kind) => kind !== 'discovery')
export const streamKind = z.enum(STREAM_KINDS)

const resourceOpen = z.strictObject({
  v: z.literal(1),
  /** The service of the agent that is to answer. */
  kind: streamKind,
  /** Route JWS of the control plane. */
  route: jws,
  /** Offer JWS of the user, or the JWS that resumes a stream (section 9). */
  offer: jws,
  /** Which of the route's agents is meant: the one that has the stream to be resumed. It narrows the route and no more. */
  agent: z.string().max(64).optional(),
  /** Added by the proxy for the audit log: UNTRUSTED by the agent. */
  peer: z.strictObject({ ip: z.string().max(64) }).optional(),
})
const policyOpen = z.strictObject({
  v: z.literal(1),
  kind: z.literal('policy'),
  /** Version the proxy holds, so that an agent that has it may refuse. Untrusted. */
  hint: z.int().min(0).optional(),
  /** Proxies of the cluster now, as the sender counts them. Untrusted: it makes an agent dial, no more. */
  proxies: z.int().min(1).max(1_000_000).optional(),
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

const offer = z.strictObject({
  /** Stream id: 16 random bytes. It outlives the connection of a resumable stream. */
  sid: base64url.length(22),
  jti: base64url.length(22),
  kind: streamKind,
  resource: z.strictObject({ kind: z.enum(RESOURCE_KINDS), name: resourceName }),
  /** Ephemeral X25519 public key, 32 raw bytes, for resumption. */
  x25519: base64url.length(43),
  ...userClaims,
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
  /** Says that we can resume the stream; an agent that can too answers with its half of the key. Default false. */
  readonly resumable?: boolean | undefined
}
export interface SignedOffer {
  readonly jws: string
  readonly offer: Offer
  /** PKCS #8 DER of the ephemeral key, never sent. */
  readonly ephemeralKey: Buffer
}

export async function signOffer(request: OfferRequest): Promise<SignedOffer> {
  const { resource, identity } = request
  const random = request.random ?? systemRandom
  const kind = request.kind ?? serviceOfResource(resource.kind)
  if (kind === 'discovery')
    throw new AppError('ERR_INPUT_INVALID', 'kind: discovery has no streams')
  const keys = generateKeyPairSync('x25519')
  const signed: Offer = {
    sid: random.bytes(16).toString('base64url'),
    jti: random.bytes(16).toString('base64url'),
    kind,
    resource,
    // The raw key is the last 32 bytes of the SPKI (RFC 8410 section 4).
    x25519: keys.publicKey
      .export({ type: 'spki', format: 'der' })
      .subarray(-32)
      .toString('base64url'),
    ...commonClaims(request),
  }
  // In the header and not in the claims, because those are strict: an agent that cannot resume must still take the offer.
  const header = { typ: OFFER_TYP, ...(request.resumable === true && { rsm: 1 as const }) }
  return {
    jws: await signAsUser(identity, header, signed),
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
  /** The user's side can resume the stream. */
  readonly resumable: boolean
}

/**
 * Throws ERR_PROOF_INVALID or ERR_CLOCK; the exact reason is in `internal`. The caller still compares `offer.resource` with
 * the route's, and remembers `jti` if the same offer twice would matter.
 */
export async function verifyOffer(text: string, check: OfferCheck): Promise<VerifiedOffer> {
  const { claims, ...verified } = await verifyAsUser(text, OFFER_TYP, offer, check)
  if (claims.kind !== check.kind) throw badUserJws(`for ${claims.kind}, not ${check.kind}`)
  if (serviceOfResource(claims.resource.kind) !== claims.kind)
    throw badUserJws(`${claims.resource.kind} is not a resource of ${claims.kind}`)
  return { ...verified, offer: claims }
}

/** What the user's JWS of an OPEN claims about its stream; nothing is verified. For logs and counts, never for a decision. */
export function untrustedStream(text: string): {
  /** 22 characters of base64url, as every offer's; undefined when it is something else. */
  readonly id: string | undefined
  readonly resumed: boolean
} {
  try {
    const [, claims = ''] = text.split('.', 2)
    const said = claimedStream.safeParse(JSON.parse(Buffer.from(claims, 'base64url').toString()))
    return {
      id: said.success ? said.data.sid : undefined,
      resumed: said.success && said.data.epoch > 0,
    }
  } catch {
    return { id: undefined, resumed: false }
  }
}
const claimedStream = z.object({ sid: base64url.length(22), epoch: z.int().default(0) })

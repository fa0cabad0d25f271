/**
 * Who may go on with a stream (SPEC.md section 9, protocols.md 8). When the stream is opened both ends sign an ephemeral X25519
 * key, and the resume key that comes of it never leaves them. To resume, the user signs again and both prove that key over both
 * sides' fresh nonces. The proxy passes all of it on and can make none of it.
 *
 *   user  ── offer {x25519}, rsm ──►  agent      in OPEN
 *   user  ◄── accept {x25519} ──      agent      in OPENED
 *   user  ── resume {sid, epoch, nonce, next} ──►  agent      in OPEN, over any proxy
 *   user  ◄── {nonce, next, mac} ──   agent      in OPENED
 *   user  ── PROOF mac, then AT, DATA … ──►  agent
 */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto'
import * as z from 'zod'
import { seconds, type Instant } from '../clock.ts'
import { AppError, reasonOf } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { parse } from '../parse.ts'
import type { Random } from '../random.ts'
import { parseJson } from '../strict-json.ts'
import { jwsSign, jwsVerify, untrustedJwsHeader } from '../certs/jws.ts'
import { readCertificate } from '../certs/x509-read.ts'
import { RESOURCE_KINDS } from '../domain/service.ts'
import { resourceName } from '../domain/name.ts'
import type { OwnIdentity } from './handshake.ts'
import { streamKind, type Offer, type SignedOffer } from './open.ts'
import {
  base64url,
  commonClaims,
  sha256,
  signAsUser,
  userClaims,
  verifyAsUser,
  type UserJwsCheck,
  type UserSigned,
  type VerifiedUser,
} from './user-jws.ts'

const ACCEPT_TYP = 'postern-accept+jws'
export const RESUME_TYP = 'postern-resume+jws'
const KEY_INFO = 'postern-resume.v1'
const NONCE_BYTES = 32
/** Epochs of one stream; each is one connection that broke. */
const EPOCH_MAX = 0xffff_ffff

const broken = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `resume: ${internal}`, cause })

// ── the key ──

/** SPKI of an X25519 key is this and the 32 raw bytes (RFC 8410 section 4). */
const SPKI = Buffer.from('302a300506032b656e032100', 'hex')

/** Salted with both signed messages, so that it is the key of this offer and this answer, and of the identities in them. */
function resumeKey(own: KeyObject, peer: string, offer: string, answer: string): Buffer {
  const publicKey = createPublicKey({
    key: Buffer.concat([SPKI, Buffer.from(peer, 'base64url')]),
    format: 'der',
    type: 'spki',
  })
  // Throws for a key that makes the secret zero (RFC 7748 section 6.1).
  const secret = diffieHellman({ privateKey: own, publicKey })
  const salt = Buffer.from(`${sha256(offer)}.${sha256(answer)}`, 'latin1')
  return Buffer.from(hkdfSync('sha256', secret, salt, KEY_INFO, 32))
}

const acceptClaims = z.strictObject({
  sid: base64url.length(22),
  /** SHA-256 of the offer that it answers. */
  offer: base64url.length(43),
  x25519: base64url.length(43),
  aud: resourceName,
  iat: z.int(),
})

/** The agent's half: what goes into OPENED, and the key. */
export async function acceptOffer(
  offer: { readonly jws: string; readonly claims: Offer },
  by: { readonly identity: OwnIdentity; readonly cluster: string; readonly now: Instant },
): Promise<{ payload: Buffer; key: Buffer }> {
  const keys = generateKeyPairSync('x25519')
  const claims: z.output<typeof acceptClaims> = {
    sid: offer.claims.sid,
    offer: sha256(offer.jws),
    x25519: keys.publicKey
      .export({ type: 'spki', format: 'der' })
      .subarray(-32)
      .toString('base64url'),
    aud: by.cluster,
    iat: seconds(by.now),
  }
  const x5c = [by.identity.certificate.raw.toString('base64')]
  const jws = await jwsSign(by.identity.signer, { typ: ACCEPT_TYP, x5c }, claims)
  try {
    const key = resumeKey(keys.privateKey, offer.claims.x25519, offer.jws, jws)
    return { payload: Buffer.from(jws, 'latin1'), key }
  } catch (e) {
    throw broken('the key in the offer', e)
  }
}

const acceptHeader = z.object({ x5c: z.tuple([z.base64().max(LIMITS.openPayload.value)]) })

/**
 * The user's half. `check` throws unless the certificate is that of the agent it should be. Throws ERR_PROOF_INVALID or what
 * `check` throws.
 */
export async function readAccept(
  payload: Buffer,
  offered: SignedOffer,
  check: (certificate: Buffer) => void,
): Promise<{ key: Buffer; certificate: Buffer }> {
  const maxBytes = LIMITS.openPayload.value
  const jws = payload.toString('latin1')
  const head = acceptHeader.safeParse(untrustedJwsHeader(jws, maxBytes))
  if (!head.success) throw broken('header of the answer', head.error)
  const certificate = Buffer.from(head.data.x5c[0], 'base64')
  check(certificate)
  const { payload: said } = await jwsVerify(jws, {
    keys: [readCertificate(certificate).publicKey],
    algorithms: ['ES256', 'EdDSA'],
    typ: ACCEPT_TYP,
    maxBytes,
  })
  const claims = acceptClaims.safeParse(said)
  if (!claims.success) throw broken('claims of the answer', claims.error)
  const { sid, offer, aud, x25519 } = claims.data
  if (sid !== offered.offer.sid || offer !== sha256(offered.jws) || aud !== offered.offer.aud)
    throw broken('the answer is to another offer')
  try {
    const own = createPrivateKey({ key: offered.ephemeralKey, format: 'der', type: 'pkcs8' })
    return { key: resumeKey(own, x25519, offered.jws, jws), certificate }
  } catch (e) {
    throw broken(reasonOf(e), e)
  }
}

// ── resuming ──

const offset = z.int().min(0)
const nonce = base64url.length(43)
const resume = z.strictObject({
  sid: base64url.length(22),
  /** One more than that of the leg before; the first leg has 0. */
  epoch: z.int().min(1).max(EPOCH_MAX),
  nonce,
  /** Offset of the byte that the user's side expects next. */
  next: offset,
  kind: streamKind,
  resource: z.strictObject({ kind: z.enum(RESOURCE_KINDS), name: resourceName }),
  ...userClaims,
})
export type Resume = z.output<typeof resume>

const resumed = z.strictObject({ v: z.literal(1), nonce, next: offset, mac: nonce })

export const newNonce = (random: Random): string => random.bytes(NONCE_BYTES).toString('base64url')

export async function signResume(
  by: UserSigned,
  said: Pick<Resume, 'sid' | 'epoch' | 'nonce' | 'next' | 'kind' | 'resource'>,
): Promise<string> {
  return signAsUser(by.identity, { typ: RESUME_TYP }, { ...said, ...commonClaims(by) })
}

/** Throws ERR_PROOF_INVALID or ERR_CLOCK. Who may resume what is the caller's to check. */
export const verifyResume = (text: string, check: UserJwsCheck): Promise<VerifiedUser<Resume>> =>
  verifyAsUser(text, RESUME_TYP, resume, check)

/** What both sides said, as the MACs cover it. */
export interface ResumeFacts {
  readonly sid: string
  readonly epoch: number
  readonly userNonce: string
  readonly agentNonce: string
  readonly userNext: number
  readonly agentNext: number
}

/** `side` is who proves the key: neither's proof serves as the other's. */
export function resumeMac(key: Buffer, side: 'user' | 'agent', facts: ResumeFacts): Buffer {
  const { sid, epoch, userNonce, agentNonce, userNext, agentNext } = facts
  // None of the parts can hold a NUL.
  const parts = [KEY_INFO, side, sid, epoch, userNonce, agentNonce, userNext, agentNext]
  return createHmac('sha256', key).update(parts.join('\0')).digest()
}

export const macHolds = (
  mac: Buffer,
  key: Buffer,
  side: 'user' | 'agent',
  facts: ResumeFacts,
): boolean => mac.length === 32 && timingSafeEqual(mac, resumeMac(key, side, facts))

/** Payload of OPENED. */
export const encodeResumed = (key: Buffer, facts: ResumeFacts): Buffer =>
  Buffer.from(
    JSON.stringify({
      v: 1,
      nonce: facts.agentNonce,
      next: facts.agentNext,
      mac: resumeMac(key, 'agent', facts).toString('base64url'),
    } satisfies z.output<typeof resumed>),
  )

/** The agent's answer, proven. Throws ERR_PROOF_INVALID. */
export function readResumed(
  payload: Buffer,
  key: Buffer,
  asked: Omit<ResumeFacts, 'agentNonce' | 'agentNext'>,
): ResumeFacts {
  const said = parse(resumed, parseJson(payload), { code: 'ERR_PROOF_INVALID' })
  const facts = { ...asked, agentNonce: said.nonce, agentNext: said.next }
  if (!macHolds(Buffer.from(said.mac, 'base64url'), key, 'agent', facts))
    throw broken('the answer is not of the agent that has the stream')
  return facts
}

/**
 * Calls of the join verb that only the holder of the host CA can read and answer (docs/join/sealed-joins.md, ADR 0027). TLS may end
 * at a load balancer with a public certificate; what was pinned is the host CA. So the host CA signs a key for key agreement, the
 * caller seals its request to that key, and the request holds the key for the answer:
 *
 *   statement   JWS of the host CA, typ postern-join-key+jws: {cluster, key: JWK X25519, expires}
 *   request     JWE ECDH-ES, A256GCM: {path, answer_key: 32 bytes in base64url, body}
 *   answer      JWE dir, A256GCM, under answer_key
 *
 * Whoever is in between can pass both on or drop them. The body is what would have been sent in the clear, signatures included.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { CompactEncrypt, compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import * as z from 'zod'
import type { SealedCall } from '../api/join.ts'
import { jwsSign, jwsVerify } from '../certs/jws.ts'
import type { Signer } from '../certs/signer.ts'
import type { Certificate } from '../certs/x509-read.ts'
import { fromSeconds, plus, seconds, type Instant } from '../clock.ts'
import { resourceName } from '../domain/name.ts'
import { AppError, badField, invariant } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { Random } from '../random.ts'
import { parseJson } from '../strict-json.ts'

const STATEMENT_TYP = 'postern-join-key+jws'
const STATEMENT_MAX = 4096
const REQUEST_TYP = 'postern-sealed-call+jwe'
const ANSWER_TYP = 'postern-sealed-answer+jwe'
const ENC = 'A256GCM'
const KEY_BYTES = 32

const statement = z.object({
  cluster: resourceName,
  key: z.object({
    kty: z.literal('OKP'),
    crv: z.literal('X25519'),
    x: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  }),
  expires: z.int(),
})

/** The calls that may be sealed. Each is sealed for itself: a request for one is none for the other. */
export type SealedPath = '/v1/join' | '/v1/renew'
const request = z.strictObject({
  path: z.enum(['/v1/join', '/v1/renew']),
  answer_key: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  body: z.unknown(),
})

/** RFC 8410: PKCS #8 of an X25519 key; the 32 bytes follow. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** The key pair of a cluster's join verb, of a secret that all its instances derive alike. */
export function joinKeyOf(secret: Uint8Array): KeyObject {
  invariant(secret.length === KEY_BYTES, 'a secret of 32 bytes')
  const der = Buffer.concat([PKCS8_HEAD, secret])
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

/** The host CA's word for the public half. */
export function signJoinKey(
  hostCa: Signer,
  joinKey: KeyObject,
  of: { readonly cluster: string; readonly now: Instant },
): Promise<string> {
  const { kty, crv, x } = createPublicKey(joinKey).export({ format: 'jwk' })
  const expires = seconds(plus(of.now, LIMITS.joinKeyTtl.value))
  const payload = { cluster: of.cluster, key: { kty, crv, x }, expires }
  return jwsSign(hostCa, { typ: STATEMENT_TYP }, payload)
}

/** What requests are sealed to. */
export type JoinPublicKey = JWK

export interface JoinKeyCheck {
  /** The host CAs that are believed. */
  readonly cas: readonly Certificate[]
  readonly cluster: string
  readonly now: Instant
}

/**
 * The key to seal to. Throws ERR_CA_PIN_MISMATCH for what no believed host CA signed for this cluster, and when it is over. There is
 * no "not before": a clock that lags does not keep a machine out.
 */
export async function openJoinKey(text: string, check: JoinKeyCheck): Promise<JoinPublicKey> {
  const refuse = (internal: string, cause?: unknown): AppError =>
    new AppError('ERR_CA_PIN_MISMATCH', undefined, { internal: `join key: ${internal}`, cause })
  const { payload } = await jwsVerify(text, {
    keys: check.cas.map((ca) => ca.publicKey),
    algorithms: ['ES256', 'EdDSA'],
    typ: STATEMENT_TYP,
    maxBytes: STATEMENT_MAX,
  }).catch((cause: unknown) => {
    throw refuse('not signed by a host CA that is believed', cause)
  })
  const parsed = statement.safeParse(payload)
  if (!parsed.success) throw refuse('another shape', parsed.error)
  const { cluster, key, expires } = parsed.data
  if (cluster !== check.cluster) throw refuse('of another cluster')
  if (fromSeconds(expires) <= check.now) throw refuse('expired')
  return key
}

const encode = (value: unknown): Buffer => Buffer.from(JSON.stringify(value), 'utf8')

/** The bytes of `jwe`, or undefined for whatever was not sealed to `key` in just this way. */
async function decrypt(
  jwe: string,
  key: KeyObject | Uint8Array,
  as: { readonly alg: 'ECDH-ES' | 'dir'; readonly typ: string },
): Promise<Buffer | undefined> {
  try {
    if (decodeProtectedHeader(jwe).typ !== as.typ) return undefined
    const { plaintext } = await compactDecrypt(jwe, key, {
      keyManagementAlgorithms: [as.alg],
      contentEncryptionAlgorithms: [ENC],
    })
    return Buffer.from(plaintext)
  } catch {
    return undefined
  }
}

export interface SealedRequest {
  readonly request: SealedCall
  /** The answer in the clear. Throws ERR_CA_PIN_MISMATCH unless the holder of the join key made it for this very request. */
  open(answer: unknown): Promise<unknown>
}

export async function sealRequest(
  joinKey: JoinPublicKey,
  call: { readonly path: SealedPath; readonly body: unknown },
  random: Random,
): Promise<SealedRequest> {
  const answerKey = random.bytes(KEY_BYTES)
  const plain = encode({ ...call, answer_key: answerKey.toString('base64url') })
  const sealed = await new CompactEncrypt(plain)
    .setProtectedHeader({ alg: 'ECDH-ES', enc: ENC, typ: REQUEST_TYP })
    .encrypt(await importJWK(joinKey, 'ECDH-ES'))
  return {
    request: { sealed },
    async open(answer) {
      const { sealed: jwe } = (answer ?? {}) as { sealed?: unknown }
      const bytes =
        typeof jwe === 'string' && jwe.length <= LIMITS.httpResponse.value
          ? await decrypt(jwe, answerKey, { alg: 'dir', typ: ANSWER_TYP })
          : undefined
      if (bytes) return JSON.parse(bytes.toString('utf8')) as unknown
      throw new AppError('ERR_CA_PIN_MISMATCH', undefined, {
        internal: 'the answer is not sealed under the key of this request',
      })
    },
  }
}

export interface OpenedRequest {
  readonly body: unknown
  seal(answer: object): Promise<SealedCall>
}

/** The server's half. Throws ERR_INPUT_INVALID for what was not sealed to this key, or for another call. */
export async function openRequest(
  joinKey: KeyObject,
  call: SealedCall,
  path: SealedPath,
): Promise<OpenedRequest> {
  const bytes = await decrypt(call.sealed, joinKey, { alg: 'ECDH-ES', typ: REQUEST_TYP })
  if (!bytes) throw badField('sealed', 'was not sealed to the join key of this cluster')
  const parsed = request.safeParse(parseJson(bytes))
  if (!parsed.success || parsed.data.path !== path)
    throw badField('sealed', 'was sealed for another call')
  const answerKey = Buffer.from(parsed.data.answer_key, 'base64url')
  return {
    body: parsed.data.body,
    seal: async (answer) => ({
      sealed: await new CompactEncrypt(encode(answer))
        .setProtectedHeader({ alg: 'dir', enc: ENC, typ: ANSWER_TYP })
        .encrypt(answerKey),
    }),
  }
}

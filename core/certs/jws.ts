/**
 * Compact JWS (RFC 7515) in both directions. Signing goes through a `Signer`, because the key may be in KMS; verifying is
 * jose's work, behind a size cap, a fixed list of algorithms and a fixed `typ`. No `crit`, no JWE, no unencoded payloads.
 */
import type { KeyObject } from 'node:crypto'
import { compactVerify, decodeProtectedHeader } from 'jose'
import { AppError } from '../errors.ts'
import { derToRaw } from './ecdsa.ts'
import { algorithmOf, type KeyAlgorithm, type Signer } from './signer.ts'

const encode = (value: object): string =>
  Buffer.from(JSON.stringify(value), 'utf8').toString('base64url')

/** Signs `payload` as JSON. `alg` is the signer's and cannot be given. */
export async function jwsSign(
  signer: Signer,
  header: Readonly<Record<string, unknown>>,
  payload: object,
  signal?: AbortSignal,
): Promise<string> {
  const input = `${encode({ ...header, alg: signer.algorithm })}.${encode(payload)}`
  const signature = await signer.sign(Buffer.from(input, 'latin1'), signal)
  const raw = signer.algorithm === 'ES256' ? derToRaw(signature) : signature
  return `${input}.${raw.toString('base64url')}`
}

/** What may have signed: our own two, and those of other people's issuers (core/join/oidc). No `none`, nothing symmetric. */
export type JwsAlgorithm = KeyAlgorithm | 'RS256' | 'PS256' | 'ES384'

/** Whether this very kind of key makes signatures of this algorithm: a key is never used for another one. */
function fits(key: KeyObject, algorithm: JwsAlgorithm): boolean {
  switch (algorithm) {
    case 'ES256':
    case 'EdDSA':
      return algorithmOf(key) === algorithm
    case 'ES384':
      return key.asymmetricKeyDetails?.namedCurve === 'secp384r1'
    case 'RS256':
    case 'PS256':
      return key.asymmetricKeyType === 'rsa'
  }
}

export interface JwsVerifyOptions {
  /** Any of these keys may have signed; those that do not fit the token's algorithm are not tried. */
  readonly keys: readonly KeyObject[]
  /** Mandatory: an algorithm is never taken from the token alone. */
  readonly algorithms: readonly JwsAlgorithm[]
  /** Demanded `typ`, so that a token made for one purpose does not serve another. */
  readonly typ?: string
  /** Bytes of the whole token, checked before anything is parsed. */
  readonly maxBytes: number
}

export interface VerifiedJws {
  readonly header: Readonly<Record<string, unknown>>
  /** Parsed JSON: untrusted in shape, so give it to a strict schema. */
  readonly payload: unknown
}

const refuse = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `JWS: ${internal}`, cause })

/** The protected header of a token that nobody has verified yet. Throws ERR_PROOF_INVALID. */
export function untrustedJwsHeader(
  token: string,
  maxBytes: number,
): Readonly<Record<string, unknown>> {
  if (token.length > maxBytes) throw refuse('too large')
  if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) throw refuse('not a compact JWS')
  // The last character may carry bits that no byte takes: without this, one signature would have several texts.
  for (const part of token.split('.'))
    if (Buffer.from(part, 'base64url').toString('base64url') !== part) throw refuse('not canonical')
  try {
    return decodeProtectedHeader(token)
  } catch (cause) {
    throw refuse('header is not JSON', cause)
  }
}

/** The payload's bytes, for whoever has a stricter parser. Throws ERR_PROOF_INVALID with the exact reason in `internal`. */
export async function jwsVerifyBytes(
  token: string,
  options: JwsVerifyOptions,
): Promise<{ header: VerifiedJws['header']; bytes: Uint8Array }> {
  const header = untrustedJwsHeader(token, options.maxBytes)
  if (header['crit'] !== undefined || header['b64'] !== undefined) throw refuse('crit or b64')
  if (options.typ !== undefined && header['typ'] !== options.typ) throw refuse('wrong typ')
  const algorithm = options.algorithms.find((a) => a === header['alg'])
  if (!algorithm) throw refuse('algorithm is not allowed')
  const keys = options.keys.filter((key) => fits(key, algorithm))
  if (keys.length === 0) throw refuse('no key for this algorithm')
  for (const key of keys) {
    const bytes = await compactVerify(token, key, { algorithms: [algorithm] }).then(
      (verified) => verified.payload,
      () => undefined,
    )
    if (bytes) return { header, bytes }
  }
  throw refuse('signature does not hold')
}

/** Throws ERR_PROOF_INVALID with the exact reason in `internal`. */
export async function jwsVerify(token: string, options: JwsVerifyOptions): Promise<VerifiedJws> {
  const { header, bytes } = await jwsVerifyBytes(token, options)
  try {
    return { header, payload: JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown }
  } catch (cause) {
    throw refuse('payload is not JSON', cause)
  }
}

/**
 * Key sets of issuers (RFC 7517): what is taken from one, and who gets them. Whole sets are refused only for their size or form;
 * single keys that we would not use are left out, as issuers publish keys for other purposes too.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import * as z from 'zod'
import { AppError } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import { parse } from '../../parse.ts'
import { parseJson } from '../../strict-json.ts'

export interface IssuerKey {
  readonly kid: string | undefined
  /** The only algorithm it is for, when the set says so. */
  readonly alg: string | undefined
  readonly key: KeyObject
}

/** Where keys of issuers come from. Implemented over HTTPS in functions/join. */
export interface IssuerKeys {
  /**
   * All keys of an issuer. When none has this `kid` they are read again, within a cooldown. Throws ERR_JOIN_REFUSED when what the
   * issuer answers cannot be used, ERR_UNREACHABLE when it does not answer and no recent keys are known.
   */
  of(issuer: Issuer, kid: string | undefined): Promise<readonly IssuerKey[]>
}

export interface Issuer {
  /** Exactly as its tokens name it; an https URL. It comes from a token resource, never from evidence. */
  readonly url: string
  /** PEM of the only CA to trust for it; undefined = the public ones. */
  readonly ca: string | undefined
  /** Where its keys are, when we know that ourselves and it need not be asked. */
  readonly jwksUri?: string
}

const set = z.object({
  keys: z.array(z.looseObject({ kty: z.string() })).max(LIMITS.jwksKeys.value),
})

const SECRET_PARTS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']
/** RSA keys beyond this cost more than they protect. */
const RSA_BITS = { min: 2048, max: 8192 }

function usable(key: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  switch (key.asymmetricKeyType) {
    case 'rsa':
      // A huge exponent makes every check slow; nobody uses one above 2^32.
      return (
        modulusLength >= RSA_BITS.min && modulusLength <= RSA_BITS.max && publicExponent < 2n ** 33n
      )
    case 'ec':
    case 'ed25519':
      return true
    default:
      return false
  }
}

function keyOf(jwk: Readonly<Record<string, unknown>>): IssuerKey | undefined {
  const { use, key_ops: ops, kid, alg } = jwk
  if (use !== undefined && use !== 'sig') return undefined
  if (ops !== undefined && !(Array.isArray(ops) && ops.includes('verify'))) return undefined
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' })
    if (!usable(key)) return undefined
    return {
      kid: typeof kid === 'string' ? kid : undefined,
      alg: typeof alg === 'string' ? alg : undefined,
      key,
    }
  } catch {
    return undefined
  }
}

/** Throws ERR_INPUT_INVALID. The size is the caller's check, before this. */
export function parseJwks(bytes: Uint8Array): readonly IssuerKey[] {
  const { keys } = parse(set, parseJson(bytes))
  const wrong = (message: string): AppError => new AppError('ERR_INPUT_INVALID', `keys: ${message}`)
  if (
    keys.some((jwk) => jwk.kty !== 'oct' && SECRET_PARTS.some((part) => Object.hasOwn(jwk, part)))
  )
    throw wrong('a private key is among them; it is not secret any more')
  const found = keys.map(keyOf).filter((key): key is IssuerKey => key !== undefined)
  if (found.length === 0) throw wrong('none that verifies signatures (RSA, EC or Ed25519)')
  return found
}

/** `static_jwks` of a token: the key set as text. */
export const staticJwks = z
  .string()
  .max(LIMITS.jwksSize.value / 4)
  .superRefine((given, ctx) => {
    try {
      parseJwks(Buffer.from(given, 'utf8'))
    } catch (error) {
      const message = error instanceof AppError ? error.message : 'not a JSON Web Key Set'
      ctx.addIssue({ code: 'custom', message: `use a JSON Web Key Set (${message})` })
    }
  })

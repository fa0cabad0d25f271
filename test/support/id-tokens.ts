/** Id tokens as issuers sign them, by node:crypto alone, so that tests can also sign what no library would. */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type ECKeyPairOptions,
  type KeyObject,
  type RSAKeyPairOptions,
} from 'node:crypto'

export type SigningAlgorithm = 'RS256' | 'ES256'
export interface SigningKey {
  readonly kid: string
  readonly alg: SigningAlgorithm
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

let serial = 0
export function signingKey(alg: SigningAlgorithm, kid = `key-${++serial}`): SigningKey {
  // As DER and read back: a generated key object must not be exported as JWK (core/certs/signer.ts).
  const publicKeyEncoding = { type: 'spki', format: 'der' } as const
  const privateKeyEncoding = { type: 'pkcs8', format: 'der' } as const
  const rsa: RSAKeyPairOptions<'der', 'der'> = {
    modulusLength: 2048,
    publicKeyEncoding,
    privateKeyEncoding,
  }
  const ec: ECKeyPairOptions<'der', 'der'> = {
    namedCurve: 'P-256',
    publicKeyEncoding,
    privateKeyEncoding,
  }
  const pair = alg === 'RS256' ? generateKeyPairSync('rsa', rsa) : generateKeyPairSync('ec', ec)
  return {
    kid,
    alg,
    privateKey: createPrivateKey({ key: pair.privateKey, format: 'der', type: 'pkcs8' }),
    publicKey: createPublicKey({ key: pair.publicKey, format: 'der', type: 'spki' }),
  }
}

export const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

function signature(key: SigningKey, input: string): string {
  const bytes = Buffer.from(input)
  return key.alg === 'RS256'
    ? sign('sha256', bytes, key.privateKey).toString('base64url')
    : sign('sha256', bytes, { key: key.privateKey, dsaEncoding: 'ieee-p1363' }).toString(
        'base64url',
      )
}

/** `claims` and `header` as objects, or as the very text to sign. */
export function signIdToken(
  key: SigningKey,
  claims: object | string,
  header: object | string = { alg: key.alg, kid: key.kid, typ: 'JWT' },
): string {
  const input = `${encode(header)}.${encode(claims)}`
  return `${input}.${signature(key, input)}`
}

/** Signed with HMAC, the public key's PEM as its secret: what a verifier that trusts `alg` would accept. */
export function hmacWithPublicKey(key: SigningKey, claims: object): string {
  const input = `${encode({ alg: 'HS256', kid: key.kid, typ: 'JWT' })}.${encode(claims)}`
  const pem = key.publicKey.export({ type: 'spki', format: 'pem' })
  return `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`
}

export const jwkOf = (key: SigningKey): Record<string, unknown> => ({
  ...key.publicKey.export({ format: 'jwk' }),
  kid: key.kid,
  alg: key.alg,
  use: 'sig',
})
export const jwksOf = (...keys: readonly SigningKey[]): string =>
  JSON.stringify({ keys: keys.map(jwkOf) })

/** Id tokens broken in one named way each, and what the audit log says of every one of them. */
import { LIMITS } from '../../core/limits.ts'
import { encode, hmacWithPublicKey, jwkOf, signIdToken, type SigningKey } from './id-tokens.ts'

/** A token that holds, as its parts. */
export interface GoodIdToken {
  readonly key: SigningKey
  /** A key that the issuer does not have. */
  readonly other: SigningKey
  readonly claims: Readonly<Record<string, unknown>>
  readonly audience: string
  /** Epoch seconds. */
  readonly now: number
}

export function brokenIdTokens(given: GoodIdToken): Record<string, string> {
  const { key, claims, audience, now: t } = given
  const header = { alg: key.alg, kid: key.kid, typ: 'JWT' }
  const other: SigningKey = { ...given.other, kid: key.kid }
  const good = signIdToken(key, claims)
  const [head = '', body = '', tail = ''] = good.split('.')
  const withHeader = (more: object): string => signIdToken(key, claims, { ...header, ...more })
  const withClaims = (more: object): string => signIdToken(key, { ...claims, ...more })
  const texts = JSON.stringify(claims)
  return {
    'signed by another key': signIdToken(other, claims),
    'algorithm none': `${encode({ ...header, alg: 'none' })}.${body}.`,
    'algorithm none with the old signature': `${encode({ ...header, alg: 'none' })}.${body}.${tail}`,
    'HS256 with the public key as secret': hmacWithPublicKey(key, claims),
    'an algorithm in lower case': withHeader({ alg: key.alg.toLowerCase() }),
    'an algorithm that the key is not of': withHeader({
      alg: key.alg === 'RS256' ? 'ES256' : 'RS256',
    }),
    'an unknown kid': withHeader({ kid: 'nobody' }),
    'a kid that is no text': withHeader({ kid: 7 }),
    'a jku header': withHeader({ jku: 'https://evil.example/jwks' }),
    'an x5u header': withHeader({ x5u: 'https://evil.example/cert' }),
    'an x5c header': withHeader({ x5c: ['AAAA'] }),
    'its own key in the header': signIdToken(other, claims, { ...header, jwk: jwkOf(other) }),
    'a critical extension': withHeader({ crit: ['b64'], b64: false }),
    'a zipped payload': withHeader({ zip: 'DEF' }),
    'another typ': withHeader({ typ: 'at+jwt' }),
    'a header field named twice': signIdToken(
      key,
      claims,
      `{"alg":"none",${JSON.stringify(header).slice(1)}`,
    ),
    'another audience': withClaims({ aud: 'other.internal' }),
    'an audience that begins alike': withClaims({ aud: `${audience}.evil` }),
    'an audience in another case': withClaims({ aud: audience.toUpperCase() }),
    'a list of audiences without us': withClaims({ aud: ['a', 'b'] }),
    'an empty list of audiences': withClaims({ aud: [] }),
    'a nested list of audiences': withClaims({ aud: [[audience]] }),
    'a list with something that is no text': withClaims({ aud: [audience, 1] }),
    'no audience': withClaims({ aud: undefined }),
    'no subject': withClaims({ sub: undefined }),
    'an empty subject': withClaims({ sub: '' }),
    'no issuer': withClaims({ iss: undefined }),
    'no iat': withClaims({ iat: undefined }),
    // SPIRE 1.12.3: a JWT-SVID without exp was accepted.
    'no exp': withClaims({ exp: undefined }),
    'an exp that is a text': withClaims({ exp: String(t + 300) }),
    'an exp beyond any clock': withClaims({ exp: 1e300 }),
    'expired by more than clocks differ': withClaims({ exp: t - 31, iat: t - 100, nbf: t - 100 }),
    'issued in the future': withClaims({ iat: t + 31 }),
    'not yet valid': withClaims({ nbf: t + 31 }),
    'expired before it was issued': withClaims({ iat: t + 20, exp: t + 10 }),
    'a claim named twice': signIdToken(key, `{"sub":"somebody",${texts.slice(1)}`),
    'a payload that is a list': signIdToken(key, [claims]),
    'a payload that is no JSON': signIdToken(key, 'claims'),
    'a changed payload': `${head}.${encode({ ...claims, sub: 'evil' })}.${tail}`,
    'a changed header': `${encode({ ...header, x: 1 })}.${body}.${tail}`,
    'no signature': `${head}.${body}.`,
    'two parts': `${head}.${body}`,
    'five parts, as encrypted tokens have': `${head}.${body}.${tail}.${tail}.${tail}`,
    'many dots': '.'.repeat(1000),
    'a space at its end': `${good} `,
    'a line end at its end': `${good}\n`,
    'padding at its end': `${good}=`,
    'another spelling of its last byte': respelt(good),
    'a token of more than 16 KiB': withClaims({ pad: 'x'.repeat(LIMITS.idToken.value) }),
  }
}

/** The same bytes by a text that a lax decoder takes as well: its last character carries bits that no byte uses. */
function respelt(token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(token.at(-1) ?? '')
  return `${token.slice(0, -1)}${alphabet[last + 1]}`
}

/** What the audit log says of each: a corpus whose every entry failed for one reason would prove little. */
export const ID_TOKEN_REASONS: Readonly<Record<string, RegExp>> = {
  'signed by another key': /signature does not hold/,
  'algorithm none': /not a compact JWS/,
  'algorithm none with the old signature': /algorithm "none" is not allowed/,
  'HS256 with the public key as secret': /algorithm "HS256" is not allowed/,
  'an algorithm in lower case': /is not allowed for this issuer/,
  'an algorithm that the key is not of': /(is not allowed for this issuer|not for algorithm)/,
  'an unknown kid': /no key of the issuer has kid "nobody"/,
  'a kid that is no text': /kid is no short text/,
  'a jku header': /header has jku/,
  'an x5u header': /header has x5u/,
  'an x5c header': /header has x5c/,
  'its own key in the header': /header has jwk/,
  'a critical extension': /crit or b64/,
  'a zipped payload': /header has zip/,
  'another typ': /typ is/,
  'a header field named twice': /named twice/,
  'another audience': /audience is "other.internal"/,
  'an audience that begins alike': /audience is/,
  'an audience in another case': /audience is/,
  'a list of audiences without us': /audience is/,
  'an empty list of audiences': /audience is/,
  'a nested list of audiences': /aud is neither/,
  'a list with something that is no text': /aud is neither/,
  'no audience': /aud is missing/,
  'no subject': /sub is missing/,
  'an empty subject': /sub is missing/,
  'no issuer': /iss is missing/,
  'no iat': /iat is missing/,
  'no exp': /exp is missing/,
  'an exp that is a text': /exp is no time/,
  'an exp beyond any clock': /exp is no time/,
  'expired by more than clocks differ': /expired$/,
  'issued in the future': /issued in the future/,
  'not yet valid': /not yet valid/,
  'expired before it was issued': /expires before/,
  'a claim named twice': /named twice/,
  'a payload that is a list': /claims are no object/,
  'a payload that is no JSON': /not JSON/,
  'a changed payload': /signature does not hold/,
  'a changed header': /signature does not hold/,
  'no signature': /not a compact JWS/,
  'two parts': /not a compact JWS/,
  'five parts, as encrypted tokens have': /not a compact JWS/,
  'many dots': /not a compact JWS/,
  'a space at its end': /not a compact JWS/,
  'a line end at its end': /not a compact JWS/,
  'padding at its end': /not a compact JWS/,
  'another spelling of its last byte': /not canonical/,
  'a token of more than 16 KiB': /evidence: id_token/,
  'a life of more than 30 minutes': /lives longer than 1800 s/,
  'another issuer': /issuer is "https:/,
  'an issuer with one more slash': /issuer is "https:/,
}

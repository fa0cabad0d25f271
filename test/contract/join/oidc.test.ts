/**
 * Every method of the OIDC family against the contract of all methods: one id token that holds, and a corpus of id tokens broken
 * in one named way each. The keys come from the issuer that the token resource names, as parsed from its key set.
 */
import { describe, expect, test } from 'vitest'
import { AppError } from '../../../core/errors.ts'
import { seconds } from '../../../core/clock.ts'
import { newToken, tokenResource, type JoinToken } from '../../../core/domain/token.ts'
import { parseJwks, type IssuerKeys } from '../../../core/join/oidc/jwks.ts'
import { joinMethods, type MethodDeps } from '../../../core/join/methods.ts'
import { OIDC_METHODS, type OidcMethodName } from '../../../core/domain/join-method.ts'
import { handClock } from '../../support/clock.ts'
import { CASES, type IdTokenCase } from '../../support/id-token-cases.ts'
import { brokenIdTokens, ID_TOKEN_REASONS } from '../../support/id-token-corpus.ts'
import { jwksOf, signIdToken, signingKey } from '../../support/id-tokens.ts'
import { CLUSTER, joinMethodContract, now } from './method.ts'

const KEYS = { RS256: signingKey('RS256'), ES256: signingKey('ES256') }
const OTHERS = { RS256: signingKey('RS256'), ES256: signingKey('ES256') }
const t = seconds(now)

const claimsOf = (given: IdTokenCase) => ({
  iss: given.issuer,
  aud: given.audience,
  iat: t - 10,
  nbf: t - 10,
  exp: t + 300,
  jti: 'j-1',
  ...given.claims,
})

function joinToken(method: OidcMethodName): JoinToken {
  const given = CASES[method]
  const value = tokenResource.parse({
    kind: 'token',
    version: 'v2',
    metadata: { name: 'ci' },
    spec: {
      roles: ['Node'],
      join_method: method,
      [method]: given.block(jwksOf(KEYS[given.alg])),
    },
  })
  return newToken({ form: 'resource', value }, { name: 'ci', clock: handClock() })
}

/** Only the issuer of the token resource is ever asked. */
const issuerKeys = (given: IdTokenCase): IssuerKeys => ({
  async of({ url }) {
    expect(url).toBe(given.issuer)
    return parseJwks(Buffer.from(jwksOf(KEYS[given.alg])))
  },
})

const corpus = (given: IdTokenCase): Record<string, string> =>
  brokenIdTokens({
    key: KEYS[given.alg],
    other: OTHERS[given.alg],
    claims: claimsOf(given),
    audience: given.audience,
    now: t,
  })

for (const method of OIDC_METHODS) {
  const given = CASES[method]
  const key = KEYS[given.alg]
  const token = joinToken(method)
  const good = signIdToken(key, claimsOf(given))
  const broken: Record<string, string> = {
    ...corpus(given),
    // Kubernetes clusters have no public name; the key that was pasted is what is trusted.
    ...(method === 'kubernetes'
      ? {
          'a life of more than 30 minutes': signIdToken(key, { ...claimsOf(given), exp: t + 3600 }),
        }
      : {
          'another issuer': signIdToken(key, { ...claimsOf(given), iss: 'https://evil.example' }),
          'an issuer with one more slash': signIdToken(key, {
            ...claimsOf(given),
            iss: `${given.issuer}/`,
          }),
        }),
  }
  joinMethodContract({
    name: method,
    fuzzed: Math.ceil(20_000 / OIDC_METHODS.length),
    setup: () => ({
      token: 'ci',
      joinToken: token,
      deps: { issuerKeys: issuerKeys(given) },
      evidence: { id_token: good },
      broken: Object.fromEntries(Object.entries(broken).map(([k, v]) => [k, { id_token: v }])),
    }),
  })

  describe(`id tokens of ${method}`, () => {
    const verifier = joinMethods({ issuerKeys: issuerKeys(given) } as unknown as MethodDeps)(method)
    const context = { challenge: undefined as never, sealed: '', now, cluster: CLUSTER, token }
    const admitted = async (claims: object): Promise<boolean> => {
      const evidence = { id_token: signIdToken(key, claims) }
      return verifier.refusal(token, await verifier.verify(evidence, context)) === undefined
    }
    test('are let in when a rule names them', async () => {
      expect(await admitted(claimsOf(given))).toBe(true)
    })
    test('are let in with an audience among others, without nbf, and by clocks 29 s apart', async () => {
      expect(await admitted({ ...claimsOf(given), aud: ['other', given.audience] })).toBe(true)
      expect(await admitted({ ...claimsOf(given), nbf: undefined })).toBe(true)
      const late = { ...claimsOf(given), iat: t - 300, nbf: t - 300, exp: t - 29 }
      expect(await admitted(late)).toBe(true)
      expect(await admitted({ ...claimsOf(given), iat: t + 29, nbf: t + 29 })).toBe(true)
    })
    test.each(Object.entries(broken))(
      'are refused for %s, and for that very reason',
      async (name, idToken) => {
        const asked = verifier.verify({ id_token: idToken }, context)
        await expect(asked).rejects.toMatchObject({
          internal: expect.stringMatching(ID_TOKEN_REASONS[name] ?? /^$/) as string,
        })
      },
    )
    test.each(Object.entries(given.strangers))('are kept out for %s', async (_, change) => {
      expect(await admitted({ ...claimsOf(given), ...change })).toBe(false)
    })
    test('are refused by a token whose block is missing', async () => {
      const bare = { ...token, methodSpec: undefined }
      const asked = verifier.verify({ id_token: good }, { ...context, token: bare })
      await expect(asked).rejects.toBeInstanceOf(AppError)
    })
  })
}

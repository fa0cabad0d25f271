/** Whatever arrives as an id token or stands in a rule: refused or matched, never anything else, and never slowly. */
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { instant } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
import { globMatches } from '../../../core/glob.ts'
import { parseJwks } from '../../../core/join/oidc/jwks.ts'
import { verifyIdToken, type Trust } from '../../../core/join/oidc/verify.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'
import { encode, jwksOf, signIdToken, signingKey } from '../../support/id-tokens.ts'

vi.setConfig({ testTimeout: fuzzTimeout })
fc.configureGlobal({ numRuns: fuzzRuns })
const key = signingKey('ES256')
const keys = parseJwks(Buffer.from(jwksOf(key)))
const now = instant(1_800_000_000_000)
const trust: Trust = {
  issuer: 'https://a.example',
  audience: 'c',
  algorithms: ['ES256', 'RS256'],
  maxLife: undefined,
}
const verify = (token: string) => verifyIdToken(token, trust, async () => keys, now)
const refused = async (token: string): Promise<void> => {
  const error: unknown = await verify(token).then(
    () => undefined,
    (e: unknown) => e,
  )
  expect(error).toBeInstanceOf(AppError)
  expect((error as AppError).code).toBe('ERR_JOIN_REFUSED')
}
const claims = { iss: trust.issuer, aud: 'c', sub: 's', iat: 1_800_000_000, exp: 1_800_000_300 }

test('any text is refused', async () => {
  const part = fc.oneof(fc.string(), fc.base64String(), fc.json().map(encode))
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string(),
        fc.array(part).map((all) => all.join('.')),
      ),
      refused,
    ),
  )
})

test('any header and any claims, properly signed, are refused or verified by the rules alone', async () => {
  const value = fc.jsonValue({ maxDepth: 2 })
  const header = fc.dictionary(fc.constantFrom('alg', 'kid', 'typ', 'crit', 'jwk', 'x'), value)
  await fc.assert(
    fc.asyncProperty(header, async (given) => {
      await refused(signIdToken(key, claims, { ...given, alg: given['alg'] ?? 'none' }))
    }),
  )
  const odd = fc.dictionary(fc.constantFrom('iss', 'aud', 'sub', 'iat', 'nbf', 'exp'), value, {
    minKeys: 1,
  })
  await fc.assert(
    fc.asyncProperty(odd, async (given) => {
      const token = signIdToken(key, { ...claims, ...given })
      const verified = await verify(token).catch((e: unknown) => e)
      if (verified instanceof AppError) expect(verified.code).toBe('ERR_JOIN_REFUSED')
      else expect(verified).toMatchObject({ claims: { iss: trust.issuer } })
    }),
  )
})

test('one changed character is refused', async () => {
  const good = signIdToken(key, claims)
  await expect(verify(good)).resolves.toMatchObject({ subject: 's' })
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length - 1), fc.constantFrom(...'Ab0-_.=+ '), async (at, c) => {
      if (good[at] === c) return
      await refused(good.slice(0, at) + c + good.slice(at + 1))
    }),
  )
})

test('a pattern fits what the regular expression of the same meaning fits', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 12 })
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*', '?'), maxLength: 8 })
  fc.assert(
    fc.property(pattern, letters, (glob, text) => {
      const same = new RegExp(`^${glob.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's')
      expect(globMatches(glob, text)).toBe(same.test(text))
    }),
  )
})

test('a pattern made to be slow is not', () => {
  const begun = performance.now()
  expect(globMatches('*a'.repeat(256), `${'a'.repeat(200)}${'b'.repeat(2000)}`)).toBe(false)
  expect(performance.now() - begun).toBeLessThan(100)
})

/** Evidence from anybody: the CMS reader and the ARN patterns answer at once, and no changed byte of a signed document passes. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isAppError } from '../../../core/errors.ts'
import { globMatches } from '../../../core/glob.ts'
import { verifySignedData } from '../../../core/join/signed-data.ts'
import { regionSigner } from '../../fakes/instance-identity.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'

const signer = regionSigner('eu-west-1')
const content = '{"accountId":"123456789012","region":"eu-west-1"}'
const message = Buffer.from(signer.sign(content), 'base64')
const read = (bytes: Buffer): string | undefined => {
  try {
    return verifySignedData(bytes, [signer.key]).content.toString()
  } catch (e) {
    if (isAppError(e)) return undefined
    throw e
  }
}

test(
  'any bytes: a value or an AppError',
  () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 512 }), (bytes) => {
        expect(read(Buffer.from(bytes))).toBeUndefined()
      }),
      { numRuns: fuzzRuns },
    )
  },
  fuzzTimeout,
)

test(
  'a signed message with a byte changed says what was signed, or nothing',
  () => {
    expect(read(message)).toBe(content)
    fc.assert(
      fc.property(fc.nat(message.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Buffer.from(message)
        changed[at] = (changed[at] ?? 0) ^ by
        expect([content, undefined]).toContain(read(changed))
      }),
      { numRuns: fuzzRuns },
    )
  },
  fuzzTimeout,
)

test(
  'a signed message cut anywhere is refused',
  () => {
    fc.assert(
      fc.property(fc.nat(message.length - 1), (length) => {
        expect(read(message.subarray(0, length))).toBeUndefined()
      }),
      { numRuns: fuzzRuns },
    )
  },
  fuzzTimeout,
)

/** What a pattern means, said in the slow way. */
const meaning = (pattern: string): RegExp =>
  new RegExp(
    `^${[...pattern].map((c) => (c === '*' ? '.*' : c === '?' ? '.' : `\\u{${c.codePointAt(0)?.toString(16)}}`)).join('')}$`,
    'su',
  )

test('patterns mean what they say', () => {
  const letters = fc.array(fc.constantFrom('a', 'b', '*', '?', '.'), { maxLength: 8 })
  const texts = fc.array(fc.constantFrom('a', 'b', '.'), { maxLength: 8 })
  fc.assert(
    fc.property(letters, texts, (p, t) => {
      const [pattern, text] = [p.join(''), t.join('')]
      expect(globMatches(pattern, text)).toBe(meaning(pattern).test(text))
    }),
    { numRuns: fuzzRuns },
  )
})

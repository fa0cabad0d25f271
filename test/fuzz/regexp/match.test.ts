/** Any text as a regular expression: refused, or it answers as JavaScript's does where that ends. */
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { linearRegExp } from '../../../core/regexp/match.ts'
import { RegExpFlaw } from '../../../core/regexp/parse.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'

vi.setConfig({ testTimeout: fuzzTimeout })
fc.configureGlobal({ numRuns: fuzzRuns })

const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '-'), maxLength: 8 })
const { pattern } = fc.letrec<{ pattern: string; one: string }>((tie) => ({
  one: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '[a-c]', '\\w', '\\W', '\\-', '^', '$'),
    tie('pattern').map((inner) => `(${inner})`),
  ),
  pattern: fc
    .array(
      fc.tuple(tie('one'), fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{1,2}', '{0,}', '|')),
      { maxLength: 4 },
    )
    .map((parts) =>
      parts.map(([one, more]) => (/^[$^]$/.test(one) && more !== '|' ? one : one + more)).join(''),
    ),
}))

test('it answers as the expression of the same meaning in JavaScript does', () => {
  fc.assert(
    fc.property(pattern, text, (source, given) => {
      expect(linearRegExp(source).test(given)).toBe(new RegExp(source).test(given))
    }),
  )
})

test('whatever is written there is refused by RegExpFlaw or decided', () => {
  const any = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.string({ unit: fc.constantFrom(...'ab(){}[]|*+?^$\\.,-0123:='), maxLength: 40 }),
  )
  fc.assert(
    fc.property(any, text, (source, given) => {
      try {
        expect(typeof linearRegExp(source).test(given)).toBe('boolean')
      } catch (e) {
        expect(e).toBeInstanceOf(RegExpFlaw)
      }
    }),
  )
})

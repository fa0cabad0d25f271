/** Regular expressions of token files: RE2's answers for what is understood, a refusal by name for what is not. */
import { describe, expect, test } from 'vitest'
import { linearRegExp } from '../../../core/regexp/match.ts'
import { RegExpFlaw } from '../../../core/regexp/parse.ts'

describe('matches', () => {
  test.each([
    [
      '^repo:acme/(web|api):ref:refs/heads/(main|release-[0-9]+)$',
      'repo:acme/api:ref:refs/heads/release-12',
    ],
    ['^web-[0-9]{1,3}$', 'web-123'],
    ['^v?\\d+(\\.\\d+){2}(-rc\\.\\d+)?$', 'v1.20.3-rc.1'],
    ['^(?:a|)$', ''],
    ['^[^/]+/[\\w.-]+$', 'acme/my-app.git'],
    ['^a{2,}b*?$', 'aaaa'],
    ['^[]a-]+$', ']-a'],
    ['^x{0}y$', 'y'],
    ['^.$', '😀'],
    ['^a$|^b', 'bcd'],
    ['b', 'abc'],
    ['^\\S+@acme\\.example$', 'ann@acme.example'],
    ['^a{x}$', 'a{x}'],
  ])('%s: %s', (pattern, text) => expect(linearRegExp(pattern).test(text)).toBe(true))
})
describe('does not match', () => {
  test.each([
    ['^web-[0-9]{1,3}$', 'web-1234'],
    ['^web$', 'web\n'],
    ['^.$', '\n'],
    ['^repo:acme/.+$', 'repo:acme/'],
    ['^main$', 'xmain'],
    ['a^b', 'ab'],
    ['^[^a-c]$', 'b'],
  ])('%s: %s', (pattern, text) => expect(linearRegExp(pattern).test(text)).toBe(false))
})
describe('is refused with what is wrong', () => {
  test.each([
    ['^(a$', 'a ( without its )'],
    ['a)$', 'a ) without its ('],
    ['[a', 'a [ without its ]'],
    ['*a', 'nothing stands before *'],
    ['a**', 'a repetition of a repetition'],
    ['a{3,2}', 'ends before it begins'],
    ['[z-a]', 'ends before z'],
    ['[[:alpha:]]', '[:alpha:]'],
    ['(?i)a', '(?i is not understood here'],
    ['(?=a)', '(?= is not understood here'],
    ['\\bword\\b', '\\b is not understood here'],
    ['\\pL', '\\p is not understood here'],
    ['a\\', '\\ is not understood here'],
    ['(a{999}){999}', 'larger than 1000 states'],
    ['((((){999}){999}){999}){999}', 'larger than 1000 states'],
    ['('.repeat(25) + ')'.repeat(25), 'nested deeper than 24'],
  ])('%s', (pattern, why) => {
    expect(() => linearRegExp(pattern)).toThrow(RegExpFlaw)
    expect(() => linearRegExp(pattern)).toThrow(why)
  })
})

// What it stops: an expression that goes back and tries again, 2^n times for n characters, and holds up every join meanwhile.
test('what takes other engines for ever is decided at once', () => {
  const text = `${'a'.repeat(2000)}!`
  for (const pattern of ['^(a*)*$', '^(a|a)*$', '^(a?){300}a{300}b$', '(x+x+)+y'])
    expect(linearRegExp(pattern).test(text)).toBe(false)
})

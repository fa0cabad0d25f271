// Label matching must be exact and linear: a role may be long and strange, but never slow.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fillLogins, globMatches, labelsMatch } from '../../../core/access/match.ts'
import { permits } from '../../../core/access/permits.ts'

describe('globs', () => {
  test.each([
    ['a*c', 'abc', true],
    ['a*c', 'ac', true],
    ['a*a', 'a', false],
    ['*', '', true],
    ['**', 'x', true],
    ['a*b*c', 'a-b-b-c', true],
    ['a*b*c', 'acb', false],
    ['*ab*ab', 'ab', false],
    ['a.c', 'abc', false],
  ])('%s on %s is %s', (pattern, text, want) => {
    expect(globMatches(pattern, text)).toBe(want)
  })
  test('agrees with the regular expression that means the same', () => {
    const short = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 })
    const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 })
    fc.assert(
      fc.property(short, text, (pattern, t) => {
        const same = new RegExp(`^${pattern.replaceAll('*', '.*')}$`, 's')
        expect(globMatches(pattern, t)).toBe(same.test(t))
      }),
    )
  })
})

describe('labels', () => {
  test('an absent and an empty selector match nothing', () => {
    expect(labelsMatch(undefined, { a: '1' })).toBe(false)
    expect(labelsMatch({}, { a: '1' })).toBe(false)
  })
  test('names of the object prototype are not labels', () => {
    expect(labelsMatch({ constructor: ['*'] }, {})).toBe(false)
    expect(fillLogins(['{{external.constructor}}'], {})).toEqual([])
  })
  test('the star key matches only with the star value', () => {
    expect(labelsMatch({ '*': ['x'] }, { a: 'x' })).toBe(false)
  })
})

test('rights on the API: deny wins, a star covers all, nothing is granted by default', () => {
  const all = { allow: [{ resources: ['*' as const], verbs: ['*' as const] }], deny: [] }
  const noUsers = { allow: [], deny: [{ resources: ['user' as const], verbs: ['*' as const] }] }
  expect(permits([], 'token', 'create')).toBe(false)
  expect(permits([all], 'token', 'create')).toBe(true)
  expect(permits([all, noUsers], 'user', 'read')).toBe(false)
})

// Label matching must be exact and linear: a role may be long and strange, but never slow.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { labelIndex } from '../../../core/access/label-index.ts'
import {
  conditionsHold,
  conditionsOf,
  fillLogins,
  globMatches,
} from '../../../core/access/match.ts'
import { permits } from '../../../core/access/permits.ts'
import type { Labels, LabelSelector } from '../../../core/domain/name.ts'

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
  const fits = (selector: LabelSelector, labels: Labels): boolean => {
    const conditions = conditionsOf(selector)
    return conditions !== undefined && conditionsHold(conditions, labels)
  }
  test('an empty selector matches nothing', () => {
    expect(fits({}, { a: '1' })).toBe(false)
  })
  test('names of the object prototype are not labels', () => {
    expect(fits({ constructor: ['*'] }, {})).toBe(false)
    expect(fits({ __proto__: ['*'] }, {})).toBe(false)
    expect(fillLogins(['{{external.constructor}}'], {})).toEqual([])
  })
  test('the star key matches only with the star value, and then asks for nothing more', () => {
    expect(fits({ '*': ['x'] }, { a: 'x' })).toBe(false)
    expect(fits({ '*': ['*'] }, {})).toBe(true)
    expect(fits({ '*': ['*'], a: ['y'] }, { a: 'x' })).toBe(false)
  })
  test('an index finds just those that hold when each is asked', () => {
    const value = fc.constantFrom('a', 'b', 'ab')
    const key = fc.constantFrom('x', 'y', 'constructor')
    const selector = fc.dictionary(
      fc.oneof(key, fc.constant('*')),
      fc.array(fc.oneof(value, fc.constantFrom('*', 'a*')), { maxLength: 2 }),
      { maxKeys: 3 },
    )
    fc.assert(
      fc.property(
        fc.array(fc.option(selector, { nil: undefined }), { maxLength: 12 }),
        fc.dictionary(key, value),
        (selectors, labels) => {
          const conditions = selectors.map((one) => one && conditionsOf(one))
          const want = selectors.flatMap((one, i) => (one && fits(one, labels) ? [i] : []))
          expect(labelIndex(conditions).holding(labels)).toEqual(want)
        },
      ),
    )
  })
})

test('rights on the API: deny wins, a star covers all, nothing is granted by default', () => {
  const all = { allow: [{ resources: ['*' as const], verbs: ['*' as const] }], deny: [] }
  const noUsers = { allow: [], deny: [{ resources: ['user' as const], verbs: ['*' as const] }] }
  expect(permits([], 'token', 'create')).toBe(false)
  expect(permits([all], 'token', 'create')).toBe(true)
  expect(permits([all, noUsers], 'user', 'read')).toBe(false)
})

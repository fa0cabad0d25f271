/** JSON that two readers cannot read differently. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../core/errors.ts'
import { parseJson } from '../../core/strict-json.ts'

const parse = (text: string): unknown => parseJson(Buffer.from(text, 'utf8'))

describe('strict JSON', () => {
  test('reads every document that JSON.stringify writes, as JSON.parse does', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), (text) => {
        if (/__proto__/.test(text)) return
        expect(parse(text)).toEqual(JSON.parse(text))
      }),
    )
  })
  test('parses or refuses whatever bytes arrive, and never breaks', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          parseJson(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(AppError)
        }
      }),
    )
  })
  test.each([
    ['a key twice', '{"a":1,"a":2}'],
    ['a key twice with spaces between', '{"a" : 1 ,\n "a"\t: 2}'],
    ['a key twice in an inner object', '[{"x":{"a":1,"b":2,"a":3}}]'],
    ['a key twice, once escaped', '{"a":1,"\\u0061":2}'],
    ['__proto__', '{"__proto__":1}'],
    ['a byte order mark', '\ufeff{}'],
    ['depth beyond the limit', `${'['.repeat(17)}${']'.repeat(17)}`],
    ['a comment', '{/**/}'],
    ['a trailing comma', '{"a":1,}'],
    ['NaN', 'NaN'],
    ['a bare word', 'undefined'],
  ])('refuses %s', (_, text) => {
    expect(() => parse(text)).toThrow(AppError)
  })
  test.each([
    ['the same key in two objects', '[{"a":1},{"a":2}]'],
    ['a value that equals a key', '{"a":"a","b":"a"}'],
    ['a text that looks like a key', '{"a":"\\"a\\":1"}'],
    ['depth at the limit', `${'['.repeat(16)}${']'.repeat(16)}`],
  ])('accepts %s', (_, text) => {
    expect(parse(text)).toEqual(JSON.parse(text))
  })
})

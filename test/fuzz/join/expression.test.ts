/** Any text as an expression, any claims for it: refused, decided or failed, never anything else; and nobody unnamed gets in. */
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { AppError } from '../../../core/errors.ts'
import { expressionHolds } from '../../../core/join/oidc/expression/evaluate.ts'
import { ExpressionFailure, FUNCTIONS } from '../../../core/join/oidc/expression/functions.ts'
import { parseExpression, type Node } from '../../../core/join/oidc/expression/parse.ts'
import { namesSomebody } from '../../../core/join/oidc/expression/scope.ts'
import { fuzzRuns, fuzzTimeout } from '../../support/fuzz.ts'

vi.setConfig({ testTimeout: fuzzTimeout })
fc.configureGlobal({ numRuns: fuzzRuns })

function read(text: string): Node | undefined {
  try {
    return parseExpression(text)
  } catch (error) {
    expect(error).toBeInstanceOf(AppError)
    expect((error as AppError).code).toBe('ERR_INPUT_INVALID')
    return undefined
  }
}
/** What it decides; undefined when it cannot. */
function decide(node: Node, claims: object): boolean | undefined {
  try {
    const decided = expressionHolds(node, claims as Record<string, unknown>)
    expect(typeof decided).toBe('boolean')
    return decided
  } catch (error) {
    expect(error).toBeInstanceOf(ExpressionFailure)
    return undefined
  }
}

const WORDS = [
  ...Object.keys(FUNCTIONS),
  ...[
    'claims',
    '.',
    'a',
    'b',
    '[',
    ']',
    '(',
    ')',
    ',',
    '==',
    '!=',
    '&&',
    '||',
    '!',
    'true',
    'false',
  ],
  ...[
    '"a"',
    '"b"',
    '`c`',
    '"\\u0061"',
    '.contains(',
    'claims.a',
    'claims["b"]',
    '\u0000',
    '1',
    "'",
  ],
]
const soup = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.array(fc.constantFrom(...WORDS), { maxLength: 40 }).map((words) => words.join(' ')),
)
const anyClaims = fc.dictionary(fc.constantFrom('a', 'b', '__proto__', 'c'), fc.jsonValue())

test('any text', () => {
  fc.assert(
    fc.property(soup, anyClaims, (text, claims) => {
      const node = read(text)
      if (node) decide(node, claims)
    }),
  )
})

const { whole } = fc.letrec<{ whole: string; value: string; list: string }>((tie) => ({
  list: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(
      'claims.list',
      'claims.list2',
      'set("a")',
      'set("a", "b")',
      'set()',
      'claims.t',
    ),
    fc.tuple(tie('list'), tie('value')).map(([l, v]) => `set(${l}, ${v})`),
    fc.tuple(tie('list'), tie('list')).map(([l, r]) => `union(${l}, ${r})`),
    tie('list').map((l) => `strings.upper(${l})`),
    tie('list').map((l) => `strings.split(${l}, "-")`),
  ),
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom('claims.t', 'claims.u', '"a"', '"b"', 'claims.deep.t'),
    tie('value').map((v) => `strings.lower(${v})`),
    fc
      .tuple(tie('whole'), tie('value'), tie('value'))
      .map(([w, a, b]) => `ifelse(${w}, ${a}, ${b})`),
  ),
  whole: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom('claims.yes', 'true', 'false'),
    fc.tuple(tie('value'), tie('value')).map(([a, b]) => `${a} == ${b}`),
    fc.tuple(tie('value'), tie('value')).map(([a, b]) => `(${a} != ${b})`),
    fc.tuple(tie('list'), tie('value')).map(([l, v]) => `contains(${l}, ${v})`),
    fc.tuple(tie('list'), tie('list')).map(([l, r]) => `contains_any(${l}, ${r})`),
    fc.tuple(tie('list'), tie('list')).map(([l, r]) => `contains_all(${l}, ${r})`),
    tie('list').map((l) => `is_empty(${l})`),
    tie('value').map((v) => `regexp.match(${v}, "a*")`),
    tie('whole').map((w) => `!(${w})`),
    fc.tuple(tie('whole'), tie('whole')).map(([l, r]) => `(${l}) && (${r})`),
    fc.tuple(tie('whole'), tie('whole')).map(([l, r]) => `(${l}) || (${r})`),
  ),
}))

/** Nothing here is written down in any of the expressions. */
const STRANGER = {
  t: 'z1',
  u: 'z2',
  deep: { t: 'z3' },
  list: ['z4', 'z5'],
  list2: ['z6'],
  yes: false,
}

test('an expression that names somebody lets in no stranger', () => {
  let named = 0
  fc.assert(
    fc.property(whole, (text) => {
      const node = read(text)
      if (!node || !namesSomebody(node)) return
      named += 1
      expect(decide(node, STRANGER), text).not.toBe(true)
    }),
  )
  expect(named).toBeGreaterThan(fuzzRuns / 20)
})

test('not is the opposite, and what cannot be decided stays so', () => {
  fc.assert(
    fc.property(
      whole,
      fc.constantFrom(STRANGER, { t: 'a', u: 'b', list: ['a'], yes: true }),
      (text, claims) => {
        const [node, opposite] = [read(text), read(`!(${text})`)]
        if (!node || !opposite) return
        const decided = decide(node, claims)
        expect(decide(opposite, claims)).toBe(decided === undefined ? undefined : !decided)
      },
    ),
  )
})

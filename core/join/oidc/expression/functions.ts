/** The functions of expressions, one table: what each takes and gives. Texts and sets of texts are bounded whatever they do. */
import { globMatches } from '../../../access/match.ts'
import { LIMITS } from '../../../limits.ts'
import { linearRegExp } from '../../../regexp/match.ts'

/** `list`: a set, a list of texts among the claims, or one text. `value`: a text or a set. */
export type Kind = 'bool' | 'text' | 'list' | 'value' | 'set'

export type Value = boolean | string | ReadonlySet<string>

export interface ExpressionFunction {
  readonly takes: readonly Kind[]
  /** Of this kind any number more. */
  readonly more?: Kind
  readonly gives: Kind
  apply(args: readonly Value[]): Value
}

/** What an expression meets that it cannot go on with; the join is refused, and the audit log says why. */
export class ExpressionFailure extends Error {}

const bounded = (set: ReadonlySet<string>): ReadonlySet<string> => {
  if (set.size <= LIMITS.expressionSet.value) return set
  throw new ExpressionFailure(`a set of more than ${LIMITS.expressionSet.value} texts`)
}
const text = (value: Value | undefined): string => (typeof value === 'string' ? value : '')
const setOf = (value: Value | undefined): ReadonlySet<string> =>
  typeof value === 'object' ? value : new Set([text(value)])
const mapped = (value: Value | undefined, change: (text: string) => string): Value =>
  typeof value === 'string' ? change(value) : new Set([...setOf(value)].map(change))

function local(address: string): string {
  const at = address.lastIndexOf('@')
  if (at < 1 || /[\s<>,"]/.test(address))
    throw new ExpressionFailure(`${JSON.stringify(address.slice(0, 80))} is no mail address`)
  return address.slice(0, at)
}

export interface Matcher {
  readonly test: (text: string) => boolean
  /** Whether it spells out anything of whom it matches. */
  readonly hasLiteral: boolean
}
/** As Teleport reads them: between `^` and `$` a regular expression, anything else a text in which `*` is any run. Throws RegExpFlaw. */
export const matcherOf = (pattern: string): Matcher =>
  /^\^[^]*\$$/.test(pattern)
    ? linearRegExp(pattern)
    : { test: (t) => globMatches(pattern, t), hasLiteral: /[^*]/.test(pattern) }

const union = (args: readonly Value[]): Value =>
  bounded(new Set(args.flatMap((a) => [...setOf(a)])))
export const FUNCTIONS: Readonly<Record<string, ExpressionFunction>> = {
  set: { takes: [], more: 'list', gives: 'set', apply: union },
  union: { takes: ['list'], more: 'list', gives: 'set', apply: union },
  contains: {
    takes: ['list', 'text'],
    gives: 'bool',
    apply: ([list, item]) => setOf(list).has(text(item)),
  },
  contains_any: {
    takes: ['list', 'list'],
    gives: 'bool',
    apply: ([list, items]) => [...setOf(items)].some((item) => setOf(list).has(item)),
  },
  contains_all: {
    takes: ['list', 'list'],
    gives: 'bool',
    apply: ([list, items]) => [...setOf(items)].every((item) => setOf(list).has(item)),
  },
  is_empty: { takes: ['list'], gives: 'bool', apply: ([list]) => setOf(list).size === 0 },
  equals: { takes: ['text', 'text'], gives: 'bool', apply: ([a, b]) => a === b },
  ifelse: {
    takes: ['bool', 'value', 'value'],
    gives: 'value',
    apply: ([when, one = '', other = '']) => (when === true ? one : other),
  },
  'strings.upper': {
    takes: ['value'],
    gives: 'value',
    apply: ([value]) => mapped(value, (t) => t.toUpperCase()),
  },
  'strings.lower': {
    takes: ['value'],
    gives: 'value',
    apply: ([value]) => mapped(value, (t) => t.toLowerCase()),
  },
  'strings.split': {
    takes: ['list', 'text'],
    gives: 'set',
    apply: ([list, at]) => bounded(new Set([...setOf(list)].flatMap((t) => t.split(text(at))))),
  },
  'email.local': {
    takes: ['list'],
    gives: 'set',
    apply: ([list]) => new Set([...setOf(list)].map(local)),
  },
  'regexp.match': {
    takes: ['list', 'text'],
    gives: 'bool',
    apply: ([list, pattern]) => [...setOf(list)].some(matcherOf(text(pattern)).test),
  },
}

/** `set.contains(item)` is `contains(set, item)`, and so on. */
export const METHODS: Readonly<Record<string, string>> = {
  contains: 'contains',
  contains_any: 'contains_any',
  contains_all: 'contains_all',
  add: 'union',
}

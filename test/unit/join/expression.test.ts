/** Expressions of allow_any: what is understood, what it decides, and what is refused with a word on what to write instead. */
import { describe, expect, test } from 'vitest'
import { expressionHolds } from '../../../core/join/oidc/expression/evaluate.ts'
import { FUNCTIONS } from '../../../core/join/oidc/expression/functions.ts'
import { expressionFlaw, parseExpression } from '../../../core/join/oidc/expression/parse.ts'
import { namesSomebody } from '../../../core/join/oidc/expression/scope.ts'
import { LIMITS } from '../../../core/limits.ts'

const CLAIMS = {
  sub: 'job-1',
  organization_name: 'acme-corp',
  project: { name: 'web', 'http://acme.example/': { team: 'Ops' } },
  groups: ['dev', 'sre'],
  none: [],
  email: 'ann@acme.example',
  email_verified: true,
  draft: false,
  number: 1,
  nothing: null,
}
const holds = (text: string, claims: object = CLAIMS): boolean =>
  expressionHolds(parseExpression(text), claims as Record<string, unknown>)

describe('holds', () => {
  test.each([
    'claims.organization_name == "acme-corp"',
    '"acme-corp" == claims.organization_name',
    'claims["organization_name"] == `acme-corp`',
    'claims.project.name == "web" && claims.sub != "job-2"',
    'claims.project["http://acme.example/"]["team"] == "Ops"',
    'claims.sub == "x" || claims.sub == "job-1"',
    '!(claims.sub == "x")',
    '!claims.draft && claims.email_verified',
    'claims.email_verified == true',
    // && before ||, as everywhere.
    'claims.sub == "x" && claims.sub == "y" || claims.sub == "job-1"',
    'contains(claims.groups, "dev")',
    'contains(set(claims.groups), "dev")',
    'set(claims.groups, "more").contains("more")',
    'set("a").add("b").contains("b")',
    'contains(set("dev", "test"), claims.sub) == false',
    'contains_any(claims.groups, set("sre", "x"))',
    'contains_all(claims.groups, set("sre", "dev"))',
    '!contains_all(claims.groups, set("sre", "x"))',
    'is_empty(claims.none)',
    'contains(union(claims.groups, set("x")), "x")',
    'equals(claims.sub, "job-1")',
    'strings.lower(claims.project["http://acme.example/"]["team"]) == "ops"',
    'contains(strings.upper(claims.groups), "DEV")',
    'contains(strings.split(claims.sub, "-"), "1")',
    'contains(email.local(claims.email), "ann")',
    'ifelse(claims.draft, "a", "b") == "b"',
    'regexp.match(claims.sub, "job-*")',
    'regexp.match(claims.groups, "s*e")',
    'regexp.match(claims.sub, "^job-[0-9]+$")',
    'regexp.match(claims.groups, `^(dev|ops)$`)',
    'claims.sub == "job-\\u0031"',
  ])('%s', (text) => expect(holds(text)).toBe(true))
})

describe('does not hold', () => {
  test.each([
    'claims.organization_name == "acme"',
    'claims.organization_name == "ACME-CORP"',
    'claims.sub != "job-1"',
    'contains(claims.groups, "de")',
    'contains_any(claims.groups, set())',
    'contains(claims.none, "dev")',
    'regexp.match(claims.sub, "job")',
    'regexp.match(claims.sub, "job-?")',
    'regexp.match(claims.sub, "^job-[a-z]+$")',
    'regexp.match(claims.groups, "^de$")',
    'claims.draft',
    'false',
  ])('%s', (text) => expect(holds(text)).toBe(false))
})

describe('what a token lacks, or has of another kind, is a failure and lets nobody in', () => {
  test.each([
    ['claims.team == "web"', 'claims.team is not there'],
    ['claims.team != "web"', 'claims.team is not there'],
    ['!(claims.team == "web")', 'claims.team is not there'],
    ['claims.project.team == "web"', 'claims.project.team is not there'],
    ['claims.sub.more == "web"', 'claims.sub.more is not there'],
    ['claims.groups.length == "2"', 'claims.groups.length is not there'],
    ['claims.constructor == "x"', 'claims.constructor is not there'],
    ['claims.__proto__ == "x"', 'claims.__proto__ is not there'],
    ['claims.toString == "x"', 'claims.toString is not there'],
    ['claims.number == "1"', 'neither text'],
    ['claims.nothing == "null"', 'neither text'],
    ['claims.project == "x"', 'neither text'],
    ['claims.groups == "dev"', '== got a list'],
    ['claims.email_verified == "true"', '== got a list, or values of two kinds'],
    ['claims.sub', 'something else than bool'],
    ['claims.sub && claims.draft', 'something else than bool'],
    ['contains(claims.groups, claims.draft)', 'something else than text'],
    ['contains(email.local(claims.sub), "x")', 'no mail address'],
    ['contains(claims.draft, "x")', 'something else than list'],
  ])('%s', (text, reason) => expect(() => holds(text)).toThrow(reason))

  test('what is not needed for the answer is not asked for', () => {
    expect(holds('claims.sub == "job-1" || claims.team == "web"')).toBe(true)
    expect(holds('claims.sub == "x" && claims.team == "web"')).toBe(false)
  })
  test('a set that grows beyond its limit', () => {
    const many = Array.from({ length: LIMITS.expressionSet.value + 1 }, (_, i) => `g${i}`)
    expect(() => holds('contains(set(claims.many), "g1")', { many })).toThrow('a set of more than')
    const long = { long: 'a,'.repeat(10).concat(many.join(',')) }
    expect(() => holds('contains(strings.split(claims.long, ","), "g1")', long)).toThrow('a set of')
  })
})

describe('is refused when the token is made', () => {
  test.each([
    ['', 'a name is missing at its end'],
    ['claims', 'claims alone is no value'],
    ['claims.', 'a name is missing'],
    ['claims.sub ==', 'a name is missing at its end'],
    ['claims.sub = "x"', 'no operator of expressions is at = "x"'],
    ['claims.sub == "x" & true', 'no operator'],
    ['claims.number > "1"', 'no operator'],
    [
      'claims.number == 1',
      'numbers are not compared in expressions; use conditions or must_match_fields',
    ],
    ['claims.sub == "x', 'a text that is not closed'],
    ["claims.sub == 'x'", 'a text that is not closed'],
    ['claims.sub == "a" "b"', 'not understood at b'],
    ['(claims.sub == "a"', ') is missing'],
    ['claims[0] == "a"', 'numbers are not compared'],
    ['claims[sub] == "a"', 'write claims["name"]'],
    ['sub == "a"', 'sub is not known; claims are written as claims.sub'],
    ['user.spec.traits == "a"', 'claims are written as claims.user.spec.traits'],
    ['has(claims.sub)', 'has() is not known here; there are set, union'],
    ['constructor(claims.sub)', 'constructor() is not known here'],
    ['claims.groups.size() == "1"', '.size() is not known here; there are contains'],
    ['contains(claims.groups)', 'contains() takes 2 values'],
    ['contains(claims.groups, "a", "b")', 'contains() takes 2 values'],
    ['contains("a" == "b", "a")', 'contains() needs a text or a set'],
    ['contains(claims.groups, set("a"))', 'contains() needs a text'],
    ['set("a") == set("a")', 'sets are not compared'],
    ['claims.sub == ("a" == "b") && true == "x"', 'a text is never equal to true or false'],
    ['"a" && true', '&& needs true or false'],
    ['!"a"', '! needs true or false'],
    ['"a"', 'an expression needs true or false'],
    ['set("a")', 'an expression needs true or false'],
    ['regexp.match(claims.sub, "job-[0-9]+")', 'a regular expression stands between ^ and $'],
    ['regexp.match(claims.sub, `^(a)\\1$`)', '\\1 is not understood here'],
    ['regexp.match(claims.sub, "^(a{1000}){1000}$")', 'larger than 1000 states'],
    ['regexp.match(claims.sub, claims.pattern)', 'write the pattern as a text'],
    ['regexp.replace(claims.sub, "a", "b") == "c"', 'regexp.replace() is not known here'],
  ])('%s', (text, message) => expect(expressionFlaw(text)).toContain(message))

  test('above each of its limits, and not at them', () => {
    const long = (n: number) => `claims.sub == "${'x'.repeat(n)}"`
    const fixed = long(0).length
    expect(expressionFlaw(long(LIMITS.expressionLength.value - fixed))).toBeUndefined()
    expect(expressionFlaw(long(LIMITS.expressionLength.value - fixed + 1))).toContain('longer than')
    const wide = (n: number) => `contains(set(${Array(n).fill('"a"').join(',')}), claims.a)`
    expect(expressionFlaw(wide(LIMITS.expressionNodes.value - 3))).toBeUndefined()
    expect(expressionFlaw(wide(LIMITS.expressionNodes.value - 2))).toContain('more than 256 parts')
    const deep = (n: number, [open, close]: [string, string] = ['(', ')']) =>
      `${open.repeat(n)}claims.a${close.repeat(n)}`
    const depth = LIMITS.expressionDepth.value
    for (const pair of [
      ['(', ')'],
      ['!', ''],
    ] as [string, string][]) {
      expect(expressionFlaw(deep(depth, pair))).toBeUndefined()
      expect(expressionFlaw(deep(depth + 1, pair))).toContain('nested deeper')
    }
  })
})

describe('whom an expression lets in', () => {
  test.each([
    'claims.sub == "a"',
    'claims.sub == "a" && claims.team != "b"',
    'claims.sub == "a" || claims.sub == "b"',
    '!(claims.sub != "a")',
    '!(claims.sub != "a" || claims.team == "b")',
    'contains(set("a", "b"), claims.sub)',
    'contains(claims.groups, "a")',
    'contains(set(claims.groups), "a")',
    'contains_any(claims.groups, set("a"))',
    'contains_all(claims.groups, set("a"))',
    'strings.lower(claims.sub) == "a"',
    'contains(strings.split(claims.sub, "/"), "a")',
    'regexp.match(claims.sub, "a*")',
    'regexp.match(claims.sub, "^(repo:acme/[a-z]+|main)$")',
    'claims.trusted',
    'false',
  ])('%s: somebody who is named', (text) => expect(namesSomebody(parseExpression(text))).toBe(true))
  test.each([
    'true',
    '"a" == "a"',
    'claims.sub != "a"',
    '!(claims.sub == "a")',
    '!claims.draft',
    'claims.sub == claims.sub',
    'claims.sub == "a" || claims.sub != "a"',
    'claims.sub == "a" || true',
    '!(claims.sub != "a" && claims.team == "b")',
    '!contains(claims.groups, "a")',
    'contains(set(claims.sub, "a"), "a")',
    'contains(set("a"), "a")',
    'contains_all(claims.groups, set())',
    'is_empty(set())',
    'ifelse(claims.sub == "x", "a", "b") == "b"',
    '(claims.sub == "x") == false',
    'regexp.match(claims.sub, "**")',
    'regexp.match(claims.sub, "^.+$")',
    'regexp.match(claims.sub, "^(acme|[^x]*)$")',
    'regexp.match(claims.sub, "^a?[a-z]*$")',
    'contains(strings.split(claims.sub, claims.sub), "")',
  ])('%s: anybody', (text) => expect(namesSomebody(parseExpression(text))).toBe(false))
})

test('the documentation has every function', async () => {
  const { readFileSync } = await import('node:fs')
  const page = readFileSync('docs/join/oidc.md', 'utf8')
  expect(Object.keys(FUNCTIONS).filter((name) => !page.includes(`\`${name}(`))).toEqual([])
})

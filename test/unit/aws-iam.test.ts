/** The checker that stands in for IAM in the rehearsal, by the rules of the IAM user guide: one vector for each rule that we rely on. */
import { describe, expect, test } from 'vitest'
import { evaluate, matches, unusedGrants, wideGrants, type Statement } from '../support/aws/iam.ts'

const TABLE = 'arn:aws:dynamodb:eu-west-1:123456789012:table/T'
const allow = (more: Partial<Statement> = {}): Statement => ({
  Effect: 'Allow',
  Action: 'dynamodb:GetItem',
  Resource: TABLE,
  ...more,
})
const ask = (action = 'dynamodb:GetItem', resource = TABLE, keys?: readonly string[]) => ({
  action,
  resource,
  context: keys ? { 'dynamodb:LeadingKeys': keys } : {},
})
const leading = (patterns: readonly string[], withNull = true): Statement =>
  allow({
    Condition: {
      'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': patterns },
      ...(withNull && { Null: { 'dynamodb:LeadingKeys': 'false' } }),
    },
  })

describe('evaluation', () => {
  test.each<[string, Statement[], ReturnType<typeof ask>, string]>([
    ['nothing says yes', [], ask(), 'not allowed'],
    ['one says yes', [allow()], ask(), 'allowed'],
    ['one says yes, another no', [allow(), allow({ Effect: 'Deny' })], ask(), 'explicitly denied'],
    ['another action', [allow()], ask('dynamodb:PutItem'), 'not allowed'],
    ['actions in any case', [allow({ Action: 'DynamoDB:getitem' })], ask(), 'allowed'],
    ['a wildcard within the service', [allow({ Action: 'dynamodb:Get*' })], ask(), 'allowed'],
    ['one character', [allow({ Action: 'dynamodb:GetIte?' })], ask(), 'allowed'],
    ['everything but', [{ Effect: 'Allow', NotAction: 'kms:*', Resource: '*' }], ask(), 'allowed'],
    ['another table', [allow()], ask('dynamodb:GetItem', `${TABLE}2`), 'not allowed'],
    ['an index is no table', [allow()], ask('dynamodb:GetItem', `${TABLE}/index/i`), 'not allowed'],
    [
      'its indexes',
      [allow({ Resource: `${TABLE}/*` })],
      ask('dynamodb:GetItem', `${TABLE}/index/i`),
      'allowed',
    ],
    [
      'a wildcard does not reach over the account',
      [allow({ Resource: 'arn:aws:dynamodb:*:table/T' })],
      ask(),
      'not allowed',
    ],
  ])('%s', (_what, statements, request, verdict) => {
    expect(evaluate(statements, request)).toBe(verdict)
  })
})

describe('leading keys', () => {
  const keys = (...given: string[]) => ask('dynamodb:GetItem', TABLE, given)
  test.each<[string, Statement, ReturnType<typeof ask>, string]>([
    ['one that fits', leading(['TOKEN#*']), keys('TOKEN#a'), 'allowed'],
    ['all fit, by different patterns', leading(['A#*', 'B#*']), keys('A#1', 'B#2'), 'allowed'],
    ['one of two does not', leading(['A#*']), keys('A#1', 'B#2'), 'not allowed'],
    ['an exact key', leading(['LEASE']), keys('LEASE2'), 'not allowed'],
    // The trap of ForAllValues: it holds for a request without the key, such as a Scan.
    ['none, without Null', leading(['A#*'], false), ask(), 'allowed'],
    ['none, with Null', leading(['A#*']), ask(), 'not allowed'],
  ])('%s', (_what, statement, request, verdict) => {
    expect(evaluate([statement], request)).toBe(verdict)
  })
})

describe('operators', () => {
  const when = (Condition: NonNullable<Statement['Condition']>) => [allow({ Condition })]
  const tagged = (value?: string) => ({
    ...ask(),
    context: value === undefined ? {} : { 'aws:ResourceTag/x': [value] },
  })
  test.each<[string, NonNullable<Statement['Condition']>, string | undefined, string]>([
    ['StringEquals', { StringEquals: { 'aws:ResourceTag/x': 'a' } }, 'a', 'allowed'],
    ['StringEquals minds case', { StringEquals: { 'aws:ResourceTag/x': 'a' } }, 'A', 'not allowed'],
    [
      'StringEquals without the key',
      { StringEquals: { 'aws:ResourceTag/x': 'a' } },
      undefined,
      'not allowed',
    ],
    [
      'IfExists without the key',
      { StringEqualsIfExists: { 'aws:ResourceTag/x': 'a' } },
      undefined,
      'allowed',
    ],
    [
      'any of several values',
      { StringEquals: { 'aws:ResourceTag/x': ['b', 'a'] } },
      'a',
      'allowed',
    ],
    [
      'StringNotEquals without the key',
      { StringNotEquals: { 'aws:ResourceTag/x': 'a' } },
      undefined,
      'allowed',
    ],
    ['StringNotEquals', { StringNotEquals: { 'aws:ResourceTag/x': 'a' } }, 'a', 'not allowed'],
    [
      'two operators are both needed',
      { StringEquals: { 'aws:ResourceTag/x': 'a' }, Null: { 'aws:ResourceTag/x': 'true' } },
      'a',
      'not allowed',
    ],
    [
      'ForAnyValue without the key',
      { 'ForAnyValue:StringLike': { 'aws:ResourceTag/x': '*' } },
      undefined,
      'not allowed',
    ],
  ])('%s', (_what, condition, value, verdict) => {
    expect(evaluate(when(condition), tagged(value))).toBe(verdict)
  })
  test('an operator that it does not know is an error, never a yes or a no', () => {
    expect(() => evaluate(when({ NumericLessThan: { x: '1' } }), ask())).toThrow(/not known/)
  })
})

test('patterns are no regular expressions', () => {
  expect(matches('a.c', 'abc')).toBe(false)
  expect(matches('a+', 'aa')).toBe(false)
  expect(matches('*', 'any\nthing')).toBe(true)
})

test('what is wide, and what was never needed', () => {
  const wide = allow({ Action: ['kms:*'], Resource: '*' })
  expect(wideGrants([wide, allow()])).toEqual(['kms:*', '*'])
  const both = leading(['A#*', 'B#*'])
  expect(unusedGrants([both], [ask('dynamodb:GetItem', TABLE, ['A#1'])])).toEqual(['read B#*'])
  expect(unusedGrants([allow({ Action: 'kms:Sign' })], [])).toEqual(['kms:Sign'])
})

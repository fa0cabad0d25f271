// Patterns of ARNs: what they match, and that no pattern makes us think for long.
import { expect, test } from 'vitest'
import { STS_HOSTS, stsHostOf } from '../../../core/join/aws-regions.ts'
import { IID_KEYS } from '../../../core/join/aws-region-keys.ts'
import { globMatches } from '../../../core/glob.ts'
import { awsRefusal } from '../../../core/join/aws-rule.ts'
import { publishedIidKeys } from '../../../core/join/ec2.ts'

test.each([
  ['', '', true],
  ['*', '', true],
  ['*', 'anything', true],
  ['?', '', false],
  ['a?c', 'abc', true],
  ['a?c', 'ac', false],
  ['a*c', 'abbbc', true],
  ['a*c', 'abbb', false],
  ['*role/web-*/i-??', 'arn:role/web-1/i-00', true],
  ['role/web', 'role/web-admin', false],
  ['role/web', 'xrole/web', false],
  ['a*b*c', 'abxbc', true],
  ['a.c', 'abc', false],
  ['[a]', 'a', false],
])('%j against %j is %s', (pattern, text, matches) => {
  expect(globMatches(pattern, text)).toBe(matches)
})

test('a hostile pattern is bounded by the product of the lengths', () => {
  expect(globMatches(`${'*a'.repeat(1000)}b`, 'a'.repeat(2000))).toBe(false)
})

test('rules are alternatives, their fields are not', () => {
  const rules = [
    { account: '111111111111', arn: 'arn:*/a', regions: undefined },
    { account: '222222222222', arn: undefined, regions: ['eu-west-1'] },
  ]
  expect(awsRefusal(rules, { account: '111111111111', arn: 'arn:x/a' })).toBeUndefined()
  expect(awsRefusal(rules, { account: '222222222222', region: 'eu-west-1' })).toBeUndefined()
  expect(awsRefusal(rules, { account: '222222222222', region: 'us-east-1' })).toMatch(/region/)
  expect(awsRefusal(rules, { account: '222222222222' })).toMatch(/region/)
  expect(awsRefusal(rules, { account: '111111111111', arn: 'arn:x/b' })).toMatch(/arn:x\/b/)
  expect(awsRefusal(rules, { account: '1', arn: 'arn:x/a' })).toMatch(/account/)
  expect(awsRefusal([], { account: '111111111111' })).toMatch(/account/)
})

test('STS is known by exact names', () => {
  expect(stsHostOf('eu-west-1')).toBe('sts.eu-west-1.amazonaws.com')
  expect(stsHostOf('cn-north-1')).toBe('sts.cn-north-1.amazonaws.com.cn')
  expect(stsHostOf('nowhere-1')).toBe('sts.amazonaws.com')
  expect(stsHostOf(undefined)).toBe('sts.amazonaws.com')
  expect([...STS_HOSTS].every((host) => /^sts[a-z0-9.-]*\.amazonaws\.com(\.cn)?$/.test(host))).toBe(
    true,
  )
})

test('every published key is RSA-2048 and there for one region only', () => {
  const keys = publishedIidKeys()
  for (const { key } of keys) expect(key.asymmetricKeyDetails?.modulusLength).toBe(2048)
  expect(new Set(Object.values(IID_KEYS)).size).toBe(keys.length)
})

// A wrong context value stops synth with a sentence that says what to do; nothing is deployed half right.
import { spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { CONTEXT, ContextError } from '../../infra/context.ts'
import { contextOf } from '../support/deployment.ts'

const ZONE = 'Z0123456789ABCDEFGHIJ'
const ARN = 'arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012'
const prefixed = (given: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(given).map(([name, value]) => [`postern:${name}`, value]))

describe('refused', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['a name in capitals', { cluster: 'Bad Name' }, /postern:cluster: use 1 to 63/],
    ['an unknown profile', { profile: 'tiny' }, /use standard or small, not "tiny"/],
    ['small without a domain', { profile: 'small' }, /give -c postern:domain=NAME -c postern:zone/],
    ['small without a zone', { profile: 'small', domain: 'a.example.com' }, /postern:zone=ID/],
    ['a domain with a scheme', { domain: 'https://a.example.com' }, /is no host name/],
    ['a domain with a port', { domain: 'a.example.com:443' }, /is no host name/],
    ['a domain of one label', { domain: 'localhost' }, /is no host name/],
    ['a domain alone', { domain: 'a.example.com' }, /add -c postern:zone=ID .* or -c postern:cert/],
    ['a zone alone', { zone: ZONE }, /add -c postern:domain=NAME/],
    ['the name of a zone', { domain: 'a.example.com', zone: 'example.com' }, /list-hosted-zones/],
    [
      'a certificate of IAM',
      { domain: 'a.example.com', certificate: 'arn:aws:iam::1:x' },
      /no ACM/,
    ],
    ['a certificate alone', { certificate: ARN }, /needs its name/],
    [
      'a certificate for small',
      { profile: 'small', domain: 'a.example.com', zone: ZONE, certificate: ARN },
      /no load balancer that could use it/,
    ],
    [
      'a certificate of another region',
      { domain: 'a.example.com', certificate: ARN, region: 'eu-central-1' },
      /it is in eu-west-1 .* request one in eu-central-1/,
    ],
    ['a region that is a zone', { region: 'eu-west-1a' }, /nearest name is eu-west-1,/],
    ['a region of China', { region: 'cn-north-1' }, /no region that this can be deployed to/],
    ['days that are none', { keepDays: 'a year' }, /use a number from 1 to 3650/],
    ['too many agents', { agents: '501' }, /use a number from 0 to 500/],
    ['an ARN for a table', { table: 'arn:aws:dynamodb:eu-west-1:1:table/x' }, /is no table name/],
    ['an address without @', { alarmEmail: 'ops' }, /no mail address/],
    ['a list', { cluster: ['a', 'b'] }, /give one value/],
    ['a typo', { domian: 'x' }, /did you mean postern:domain\?/],
    ['a value of another product', { colour: 'x' }, /use postern:cluster, postern:profile/],
  ])('%s', (_, given, says) => {
    expect(() => contextOf(prefixed(given))).toThrow(ContextError)
    expect(() => contextOf(prefixed(given))).toThrow(says)
  })
  test('a value without its prefix, which would be dropped in silence', () => {
    expect(() => contextOf({ domain: 'a.example.com' })).toThrow(/did you mean postern:domain/)
    expect(() => contextOf({ domains: 'a.example.com' })).toThrow(/did you mean postern:domain/)
  })
  test('a certificate of another account', () => {
    const given = prefixed({ domain: 'a.example.com', certificate: ARN })
    expect(() => contextOf(given, { account: '210987654321' })).toThrow(/belongs to account 1234/)
  })
  test('the region of the deployer counts as well', () => {
    expect(() => contextOf({}, { region: 'us-gov-west-1' })).toThrow(/postern:region/)
  })
})

describe('taken', () => {
  test('nothing at all: a cluster behind a load balancer, without a domain', () => {
    expect(contextOf({})).toMatchObject({ cluster: 'postern', profile: 'standard', agents: 0 })
  })
  test('flags and values of the CDK and of others', () => {
    expect(() => contextOf({ '@aws-cdk/x': true, 'aws:cdk:y': [], other: 1 })).not.toThrow()
  })
  test('numbers, as cdk.json has them', () => {
    expect(contextOf(prefixed({ agents: 2, keepDays: 30 }))).toMatchObject({
      agents: 2,
      keepDays: 30,
    })
  })
  test('every value is described for docs/deploy.md', () => {
    expect(Object.keys(CONTEXT).sort()).toEqual(
      Object.keys(contextOf({}))
        .filter((name) => name !== 'account')
        .sort(),
    )
  })
})

test('the command itself: one sentence on stderr, exit code 2, no stack trace', () => {
  const ran = spawnSync(process.execPath, ['--import', 'tsx', 'infra/main.ts'], {
    encoding: 'utf8',
    env: { ...process.env, CDK_CONTEXT_JSON: JSON.stringify({ 'postern:profile': 'small' }) },
  })
  expect(ran.stderr).toMatch(/^error: postern:profile: small has no load balancer[^\n]*\n$/)
  expect(ran.status).toBe(2)
})

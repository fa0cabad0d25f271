// What the documents say of the deployment is what the templates say.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ALARMS } from '../../infra/constructs/alarm.ts'
import { CONTEXT } from '../../infra/context.ts'
import { ROUTES } from '../../infra/routes.ts'
import { leastPrivilegePage } from '../../scripts/docs-least-privilege.ts'
import { deployment } from '../support/deployment.ts'

const made = deployment({ agents: 1 })
const names = ['network', 'plane', 'proxies', 'agents'] as const
const resources = names.flatMap((name) =>
  Object.entries(
    (made.template(name).toJSON() as { Resources: Record<string, Resource> }).Resources,
  ).map(([id, resource]) => ({ id, ...resource })),
)
interface Resource {
  readonly Type: string
  readonly Properties: Record<string, unknown>
}
const ofType = (type: string) => resources.filter((r) => r.Type === type)

test('docs/least-privilege.md is current (npm run docs)', () => {
  expect(readFileSync('docs/least-privilege.md', 'utf8')).toBe(leastPrivilegePage())
})

describe('nothing is public but the two endpoints', () => {
  test('one HTTP API and one load balancer; no function URL, no other public service', () => {
    expect(ofType('AWS::ApiGatewayV2::Api')).toHaveLength(1)
    expect(ofType('AWS::ElasticLoadBalancingV2::LoadBalancer')).toHaveLength(1)
    for (const type of [
      'AWS::Lambda::Url',
      'AWS::ApiGateway::RestApi',
      'AWS::CloudFront::Distribution',
    ])
      expect(ofType(type)).toEqual([])
  })
  test('every bucket is closed, and asks for TLS', () => {
    const buckets = ofType('AWS::S3::Bucket')
    expect(buckets.length).toBeGreaterThan(1)
    for (const { Properties } of buckets)
      expect(Properties['PublicAccessBlockConfiguration']).toEqual({
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      })
    const policies = JSON.stringify(ofType('AWS::S3::BucketPolicy'))
    expect(policies.match(/"aws:SecureTransport":"false"/g)?.length).toBe(buckets.length)
  })
  test('functions are called by the API, the scheduler and CloudFormation, by nobody else', () => {
    for (const { Properties } of ofType('AWS::Lambda::Permission'))
      expect(Properties['Principal']).toBe('apigateway.amazonaws.com')
  })
  test('agents let nobody dial in', () => {
    const groups = ofType('AWS::EC2::SecurityGroup').filter((g) => g.id.startsWith('Pool'))
    expect(groups).toHaveLength(1)
    expect(groups[0]?.Properties['SecurityGroupIngress']).toBeUndefined()
  })
})

test('everything that is stored is encrypted', () => {
  for (const { Properties } of ofType('AWS::S3::Bucket'))
    expect(JSON.stringify(Properties['BucketEncryption'])).toMatch(/AES256|aws:kms/)
  for (const { Properties } of ofType('AWS::DynamoDB::GlobalTable'))
    expect(Properties['SSESpecification']).toMatchObject({ SSEEnabled: true })
  for (const { Properties } of ofType('AWS::EC2::LaunchTemplate'))
    expect(JSON.stringify(Properties)).toContain('"Encrypted":true')
})

test('records cannot be deleted before their time, and outlive the stack', () => {
  const [records] = ofType('AWS::S3::Bucket').filter((b) => b.Properties['ObjectLockEnabled'])
  expect(records?.Properties['ObjectLockConfiguration']).toMatchObject({
    Rule: { DefaultRetention: { Mode: 'GOVERNANCE', Days: 365 } },
  })
})

test('agents join by the role of their pool, metadata only by version 2, labels by the token', () => {
  const [template] = ofType('AWS::EC2::LaunchTemplate')
  expect(JSON.stringify(template)).toContain('"HttpTokens":"required"')
  const [token] = ofType('Custom::PosternJoinToken').filter((t) => t.id.startsWith('Pool'))
  const text = JSON.stringify(token?.Properties['Token'])
  expect(text).toMatch(/"Ref":"PoolRole/)
  expect(text).toContain('/i-*')
  expect(text).toContain('\\"forced_labels\\":{\\"env\\":\\"test\\",\\"pool\\":\\"first\\"}')
  expect(JSON.stringify(template)).not.toMatch(/pst_join_|auth_token/)
})

describe('alarms', () => {
  const runbook = readFileSync('docs/runbook.md', 'utf8')
  const alarms = ofType('AWS::CloudWatch::Alarm')
  test.each(Object.keys(ALARMS))('%s is deployed, and the runbook says what to do', (name) => {
    const link = `docs/runbook.md#${name}`
    expect(alarms.some((a) => String(a.Properties['AlarmDescription']).endsWith(link))).toBe(true)
    expect(runbook).toContain(`\n## ${name}\n`)
  })
})

describe('docs/deploy.md', () => {
  const page = readFileSync('docs/deploy.md', 'utf8')
  test.each(Object.keys(CONTEXT))('explains postern:%s', (name) => {
    expect(page).toContain(`\`postern:${name}\``)
  })
  test.each(Object.keys(ROUTES))('and the function %s', (verb) => {
    expect(page).toContain(`\`${verb}\``)
  })
})

test('the templates as they were reviewed', () => {
  const counts: Record<string, number> = {}
  for (const { Type } of resources) counts[Type] = (counts[Type] ?? 0) + 1
  const permissions = resources
    .filter((r) => r.Type === 'AWS::IAM::Policy')
    .map((r) => ({ id: r.id, statements: r.Properties['PolicyDocument'] }))
  // Permissions and what there is; hashes of programs change with every line of code and say nothing.
  expect({ counts, permissions }).toMatchSnapshot()
})

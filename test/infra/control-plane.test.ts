// The deployed control plane is safe by construction: what a full compromise of one function gives is written here.
import { App, Validations } from 'aws-cdk-lib'
import { Match, Template } from 'aws-cdk-lib/assertions'
import { AwsSolutionsChecks } from 'cdk-nag'
import { describe, expect, test } from 'vitest'
import { KEY_ACCESS } from '../../functions/store/key-access.ts'
import { ContextError, readContext } from '../../infra/context.ts'
import { VERBS } from '../../infra/routes.ts'
import { ControlPlane } from '../../infra/stacks/control-plane.ts'

const context = { 'aws:cdk:bundling-stacks': [], '@aws-cdk/aws-iam:minimizePolicies': true }
const build = () => {
  const app = new App({ context })
  return {
    app,
    stack: new ControlPlane(app, 'Postern', { cluster: 'example', proxies: ['a.example:443'] }),
  }
}
const template = Template.fromStack(build().stack)

interface Statement {
  Action: string | string[]
  Resource: unknown
  Condition?: Record<string, Record<string, unknown>>
}
const listed = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value])
/** Role policies, by the verb whose function uses the role. */
function statements(verb: string): Statement[] {
  const policies = template.findResources('AWS::IAM::Policy') as Record<
    string,
    { Properties: { PolicyDocument: { Statement: Statement[] } } }
  >
  return Object.entries(policies)
    .filter(([id]) => id.startsWith(`${verb}Role`))
    .flatMap(([, p]) => p.Properties.PolicyDocument.Statement)
}

describe('who may sign with which key', () => {
  test.each([
    ['api', undefined],
    ['join', 'HostCaKey'],
    ['login', 'UserCaKey'],
    ['policy', 'PolicyKey'],
    ['bootstrap', undefined],
  ])('%s: %s', (verb, key) => {
    const signing = statements(verb).filter((s) => listed(s.Action).includes('kms:Sign'))
    expect(signing.map((s) => JSON.stringify(s.Resource)).join()).toContain(key ?? '')
    expect(signing).toHaveLength(key === undefined ? 0 : 1)
  })
  test('no key policy opens a key to anybody but the account', () => {
    for (const key of Object.values(template.findResources('AWS::KMS::Key')))
      expect(JSON.stringify(key)).not.toMatch(/"Principal":("\*"|\{"AWS":"\*"\})/)
  })
})

describe('what each function may touch in the table', () => {
  test.each([...VERBS])('%s has exactly the keys of its stores, and no Scan', (verb) => {
    const table = statements(verb).filter((s) =>
      listed(s.Action).some((a) => a.startsWith('dynamodb:')),
    )
    const allowed = new Set(
      [...KEY_ACCESS[verb].read, ...KEY_ACCESS[verb].write].map((p) =>
        p.endsWith('#') ? `${p}*` : p,
      ),
    )
    expect(table.length).toBeGreaterThan(0)
    for (const s of table) {
      expect(listed(s.Action)).not.toContain('dynamodb:Scan')
      expect(listed(s.Action).join()).not.toContain('*')
      const keys = listed(
        s.Condition?.['ForAllValues:StringLike']?.['dynamodb:LeadingKeys'] as string[],
      )
      expect(keys.filter((k) => !allowed.has(k))).toEqual([])
      // "all keys of the request" also holds for a request that names none
      expect(s.Condition?.['Null']).toEqual({ 'dynamodb:LeadingKeys': 'false' })
    }
  })
  test('only login reads password hashes', () => {
    const readers = VERBS.filter((verb) =>
      (KEY_ACCESS[verb].read as readonly string[]).includes('PASSWORD#'),
    )
    expect(readers).toEqual(['login'])
  })
})

test('the table recovers to any second, is encrypted, and outlives the stack', () => {
  template.hasResource('AWS::DynamoDB::GlobalTable', {
    DeletionPolicy: 'Retain',
    Properties: Match.objectLike({
      BillingMode: 'PAY_PER_REQUEST',
      SSESpecification: { SSEEnabled: true, SSEType: 'KMS' },
      TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
      Replicas: [
        Match.objectLike({
          DeletionProtectionEnabled: true,
          PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        }),
      ],
    }),
  })
})

test('signing keys are P-256 and are kept when the stack goes', () => {
  const keys = Object.values(template.findResources('AWS::KMS::Key')) as {
    DeletionPolicy: string
    Properties: { KeySpec: string }
  }[]
  expect(keys.filter((k) => k.Properties.KeySpec === 'ECC_NIST_P256')).toHaveLength(3)
  expect(keys.every((k) => k.DeletionPolicy === 'Retain')).toBe(true)
})

test('functions run on arm64 and have no secret in their environment', () => {
  const functions = Object.values(template.findResources('AWS::Lambda::Function')) as {
    Properties: { Architectures: string[]; Environment: { Variables: Record<string, unknown> } }
  }[]
  expect(functions).toHaveLength(VERBS.length)
  for (const f of functions) {
    expect(f.Properties.Architectures).toEqual(['arm64'])
    expect(
      Object.keys(f.Properties.Environment.Variables).filter((n) => !/^(POSTERN|AWS)_/.test(n)),
    ).toEqual([])
    expect(JSON.stringify(f.Properties.Environment)).not.toMatch(/pst_(join|key)_|PRIVATE KEY/)
  }
})

// What it stops: an operator key for anybody on the internet.
test('only IAM callers reach the routes of bootstrap', () => {
  const routes = Object.values(template.findResources('AWS::ApiGatewayV2::Route')) as {
    Properties: { RouteKey: string; AuthorizationType?: string }
  }[]
  const guarded = routes.filter((r) => r.Properties.AuthorizationType === 'AWS_IAM')
  expect(guarded.map((r) => r.Properties.RouteKey).sort()).toEqual([
    'POST /v1/bootstrap',
    'POST /v1/bootstrap/host-ca',
    'POST /v1/bootstrap/user-ca',
  ])
})

test('the API is throttled and writes access logs', () => {
  template.hasResourceProperties('AWS::ApiGatewayV2::Stage', {
    AccessLogSettings: Match.anyValue(),
    DefaultRouteSettings: { ThrottlingRateLimit: 200, ThrottlingBurstLimit: 400 },
  })
})

test('the AWS solutions checks find nothing that is not acknowledged with a reason', () => {
  const { app } = build()
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app))
  expect(() => app.synth()).not.toThrow()
})

test('two syntheses are the same', () => {
  expect(Template.fromStack(build().stack).toJSON()).toEqual(template.toJSON())
})

describe('a wrong context value stops with a sentence that says what to do', () => {
  const read = (given: Record<string, unknown>) => {
    const all: Record<string, unknown> = { 'postern:proxies': 'a.example:443', ...given }
    return readContext({ tryGetContext: (k: string) => all[k], getAllContext: () => all })
  }
  test.each([
    [{ 'postern:cluster': 'Bad Name' }, /postern:cluster: use/],
    [{ 'postern:proxies': 'access.example.com' }, /not host:port/],
    [{ 'postern:proxies': '' }, /postern:proxies/],
    [{ 'postern:proxy': 'x:443' }, /postern:proxy is not a context value/],
  ])('%j', (given, says) => {
    expect(() => read(given)).toThrow(ContextError)
    expect(() => read(given)).toThrow(says)
  })
})

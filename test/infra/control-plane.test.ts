// The deployed control plane is safe by construction: what a full compromise of one function gives is written here.
import { Validations } from 'aws-cdk-lib'
import { Match } from 'aws-cdk-lib/assertions'
import { AwsSolutionsChecks } from 'cdk-nag'
import { describe, expect, test } from 'vitest'
import { KEY_ACCESS } from '../../functions/store/key-access.ts'
import { LIMITS } from '../../core/limits.ts'
import { KMS_KEYS } from '../../scripts/docs/cost.ts'
import { VERBS } from '../../infra/routes.ts'
import { deployment, listed, statementsOf } from '../support/deployment.ts'

const template = deployment().template('plane')
const statements = (verb: string) => statementsOf(template, `${verb}Role`)

// What it stops: a bug in one function signing in the name of another.
describe('who may sign with which key', () => {
  const signing = (verb: string) =>
    statements(verb).filter((s) => listed(s.Action).includes('kms:Sign'))
  const own = (verb: string) =>
    signing(verb)
      .filter((s) => s.Condition === undefined)
      .map((s) => JSON.stringify(s.Resource))
  test.each([
    ['join', 'HostCaKey', 'host'],
    ['login', 'UserCaKey', 'user'],
    ['policy', 'PolicyKey', 'policy'],
  ])(
    '%s: its own key of the deployment, and those that a rotation made for it',
    (verb, key, kind) => {
      expect(own(verb)).toHaveLength(1)
      expect(own(verb)[0]).toContain(key)
      const later = signing(verb).filter((s) => s.Condition !== undefined)
      expect(later.map((s) => s.Condition)).toEqual([
        {
          StringEquals: {
            'aws:ResourceTag/postern-cluster': 'postern',
            'aws:ResourceTag/postern-ca': kind,
          },
        },
      ])
    },
  )
  test.each(['api', 'bootstrap', 'archive'])('%s: none', (verb) => {
    expect(signing(verb)).toEqual([])
  })
  test('rotate: only keys that it made itself, never one of the deployment', () => {
    expect(own('rotate')).toEqual([])
    for (const key of Object.values(template.findResources('AWS::KMS::Key')))
      expect(JSON.stringify(key)).not.toContain('postern-ca')
  })
  test('no key policy opens a key to anybody but the account', () => {
    for (const key of Object.values(template.findResources('AWS::KMS::Key')))
      expect(JSON.stringify(key)).not.toMatch(/"Principal":("\*"|\{"AWS":"\*"\})/)
  })
})

describe('what each function may touch in the table', () => {
  test.each([...VERBS, 'archive'] as const)(
    '%s has exactly the keys of its stores, and no Scan',
    (verb) => {
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
    },
  )
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
  // Each is a dollar a month: docs/cost.md reckons with them.
  expect(keys).toHaveLength(KMS_KEYS)
})

test('functions run on arm64 and have no secret in their environment', () => {
  const functions = Object.values(template.findResources('AWS::Lambda::Function')) as {
    Properties: { Architectures: string[]; Environment: { Variables: Record<string, unknown> } }
  }[]
  expect(functions).toHaveLength(VERBS.length + 1)
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
  const { app } = deployment()
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app))
  expect(() => app.synth()).not.toThrow()
})

test.each([
  ['standard', { domain: 'access.example.com', zone: 'Z0123456789ABCDEFGHIJ', agents: 2 }],
  ['small', { profile: 'small', domain: 'a.example.com', zone: 'Z0123456789ABCDEFGHIJ' }],
])('two syntheses of every stack of %s are the same, byte for byte', (_profile, given) => {
  const made = () => {
    const { artifacts } = deployment(given)
      .app.synth()
      .stacks.reduce(
        (all, stack) => ({
          artifacts: [...all.artifacts, [stack.stackName, JSON.stringify(stack.template)] as const],
        }),
        { artifacts: [] as (readonly [string, string])[] },
      )
    return artifacts
  }
  const first = made()
  expect(first.length).toBeGreaterThanOrEqual(3)
  expect(made()).toEqual(first)
})

// docs/operations/backup.md: back to a moment of the last 35 days.
describe('a restored table in the place of the first', () => {
  const restored = deployment({ table: 'postern-restored' }).template('plane')
  test('is used by every function, within the same key prefixes, and no table is made', () => {
    restored.resourceCountIs('AWS::DynamoDB::GlobalTable', 0)
    const functions = Object.values(restored.findResources('AWS::Lambda::Function')) as {
      Properties: { Environment?: { Variables?: Record<string, unknown> } }
    }[]
    const tables = functions.flatMap(
      (fn) => fn.Properties.Environment?.Variables?.['POSTERN_TABLE'] ?? [],
    )
    expect(new Set(tables)).toEqual(new Set(['postern-restored']))
    const keys = (of: typeof template, verb: string) =>
      statementsOf(of, `${verb}Role`).flatMap((s) => s.Condition?.['ForAllValues:StringLike'] ?? [])
    for (const verb of VERBS) expect(keys(restored, verb), verb).toEqual(keys(template, verb))
    expect(JSON.stringify(statementsOf(restored, 'joinRole'))).toContain('table/postern-restored')
  })
})

// What it stops: a function that was taken over removing its traces.
test.each(VERBS)('%s adds to the audit log and cannot take anything out of it', (verb) => {
  const onLog = statements(verb).filter((s) =>
    JSON.stringify(s.Condition?.['ForAllValues:StringLike'] ?? '').includes('"EVENT#'),
  )
  const actions = new Set(onLog.flatMap((s) => listed(s.Action)))
  // A batch may delete as well: IAM knows no narrower right.
  for (const action of ['BatchWriteItem', 'DeleteItem', 'UpdateItem', 'PartiQLDelete'])
    expect(actions).not.toContain(`dynamodb:${action}`)
})

test('a signed request fits through the gateway, with a kilobyte for the other headers', () => {
  expect(LIMITS.signedRequest.value + 1024).toBeLessThanOrEqual(10_240)
})

/**
 * Token files (kind `token`, version `v2`) with every field that Teleport's reference documents for the join methods that are ours
 * too (docs/pages/includes/provision-token, version 18 and 19): taken as they are, and read back as what they say. The values are ours.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { parseDocuments } from '../../../cli/commands/create.ts'
import { toPem } from '../../../core/certs/x509-read.ts'
import { jwksOf, signingKey } from '../../support/id-tokens.ts'
import { makeCa } from '../../support/pki.ts'
import { openWorld, pathsOf, type Answer, type World } from '../../api/support/world.ts'

let world: World
let ca = ''
beforeAll(async () => {
  world = await openWorld()
  ca = toPem((await makeCa('EK CA')).certificate.raw)
})
afterAll(() => world.close())

const JWKS = jwksOf(signingKey('RS256'))
const UUID = '11111111-2222-4333-8444-555555555555'
let n = 0
/** Through YAML, as `postern create -f` reads it: numbers without quotes are numbers. */
async function create(spec: object, metadata: object = {}): Promise<Answer> {
  const name = `file-${++n}`
  const file = { kind: 'token', version: 'v2', metadata: { name, ...metadata }, spec }
  const [document] = parseDocuments(stringify(file))
  return world.op('POST', '/v1/tokens', document)
}
const read = async (): Promise<Record<string, unknown>> =>
  ((await world.op('GET', `/v1/tokens/file-${n}`)).body as { spec: Record<string, unknown> }).spec

/** `as`: what is read back where it is not word for word what was given. */
const FILES: readonly [string, object, object?][] = [
  ['ephemeral', { join_method: 'token', roles: ['App', 'Discovery'] }],
  [
    'roles in small letters',
    { join_method: 'token', roles: ['node', 'kube', 'db'] },
    { roles: ['Node', 'Kube', 'Db'] },
  ],
  [
    'iam',
    {
      roles: ['Node'],
      join_method: 'iam',
      allow: [
        { aws_account: '111111111111' },
        {
          aws_account: '333333333333',
          aws_arn: 'arn:aws:sts::333333333333:assumed-role/node-role/i-*',
        },
      ],
    },
  ],
  [
    'ec2',
    {
      roles: ['Node'],
      join_method: 'ec2',
      aws_iid_ttl: '5m',
      allow: [{ aws_account: '111111111111', aws_regions: ['us-west-1', 'us-west-2'] }],
    },
  ],
  [
    'ec2 without a method, with empty fields',
    {
      roles: ['Node'],
      bot_name: '',
      allow: [{ aws_account: '111111111111', aws_role: '', aws_arn: '', aws_regions: [] }],
    },
    { join_method: 'ec2', allow: [{ aws_account: '111111111111' }] },
  ],
  [
    'azure',
    {
      roles: ['Node'],
      join_method: 'azure',
      azure: {
        allow: [
          { subscription: UUID },
          { subscription: UUID, resource_groups: ['group1', 'group2'] },
          { tenant: UUID },
        ],
      },
    },
  ],
  [
    'gcp',
    {
      roles: ['Node'],
      join_method: 'gcp',
      gcp: {
        allow: [
          {
            project_ids: ['example-project-id'],
            locations: ['us-west1', 'us-west2-a'],
            service_accounts: ['sa@example-project-id.iam.gserviceaccount.com'],
          },
        ],
      },
    },
  ],
  [
    'github, every field',
    {
      roles: ['Node'],
      join_method: 'github',
      github: {
        enterprise_server_host: 'ghes.example.com',
        enterprise_slug: '',
        static_jwks: JWKS,
        allow: [
          {
            repository: 'acme/web',
            repository_owner: 'acme',
            workflow: 'deploy',
            environment: 'production',
            actor: 'octocat',
            ref: 'refs/heads/main',
            ref_type: 'branch',
            sub: 'repo:acme/web:environment:production',
          },
        ],
      },
    },
    { github: { enterprise_server_host: 'ghes.example.com' } },
  ],
  [
    'gitlab, every field',
    {
      roles: ['Node'],
      join_method: 'gitlab',
      gitlab: {
        domain: 'gitlab.example.com',
        static_jwks: JWKS,
        allow: [
          {
            project_path: 'my-user/my-*',
            namespace_path: 'my-user',
            pipeline_source: 'web',
            environment: 'production',
            ref_type: 'branch',
            ref: 'main',
            sub: 'project_path:my-user/my-project:ref_type:branch:ref:main',
            user_login: 'octocat',
            user_id: 42,
            user_email: 'octo.cat@example.com',
            ref_protected: true,
            environment_protected: false,
            ci_config_sha: 'f'.repeat(40),
            ci_config_ref_uri: 'gitlab.example.com/g/p//.gitlab-ci.yml@refs/heads/main',
            deployment_tier: 'production',
            project_visibility: 'public',
          },
        ],
      },
    },
    { gitlab: { allow: [{ user_id: '42', environment_protected: false }] } },
  ],
  [
    'circleci, with an id without quotes',
    {
      roles: ['Node'],
      join_method: 'circleci',
      circleci: { organization_id: UUID, allow: [{ context_id: UUID, project_id: 1234 }] },
    },
    { circleci: { allow: [{ project_id: '1234' }] } },
  ],
  [
    'kubernetes in_cluster, by default',
    {
      roles: ['App'],
      join_method: 'kubernetes',
      kubernetes: { allow: [{ service_account: 'web:agent' }] },
    },
    { kubernetes: { type: 'in_cluster' } },
  ],
  [
    'kubernetes static_jwks',
    {
      roles: ['App'],
      join_method: 'kubernetes',
      kubernetes: {
        type: 'static_jwks',
        static_jwks: { jwks: JWKS },
        allow: [{ service_account: 'web:agent' }],
      },
    },
  ],
  [
    'kubernetes oidc',
    {
      roles: ['App'],
      join_method: 'kubernetes',
      kubernetes: {
        type: 'oidc',
        oidc: { issuer: 'https://oidc.eks.us-west-2.amazonaws.com/id/CLUSTER' },
        allow: [{ service_account: 'web:agent' }],
      },
    },
  ],
  [
    'spacelift',
    {
      roles: ['Node'],
      join_method: 'spacelift',
      spacelift: {
        hostname: 'example.app.spacelift.io',
        enable_glob_matching: true,
        allow: [{ space_id: 'root', caller_type: 'stack', caller_id: 'my-*', scope: 'read' }],
      },
    },
  ],
  [
    'terraform_cloud, with empty fields',
    {
      roles: ['Node'],
      join_method: 'terraform_cloud',
      terraform_cloud: {
        audience: '',
        hostname: '',
        allow: [
          {
            organization_name: 'Org',
            organization_id: 'org-foo',
            project_name: 'Project',
            project_id: 'prj-bar',
            workspace_name: 'Workspace',
            workspace_id: 'ws-baz',
            run_phase: '',
          },
        ],
      },
    },
    { terraform_cloud: { hostname: 'app.terraform.io' } },
  ],
  [
    'bitbucket',
    {
      roles: ['Node'],
      join_method: 'bitbucket',
      bitbucket: {
        identity_provider_url:
          'https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc',
        audience: 'ari:cloud:bitbucket::workspace/w-1',
        allow: [
          {
            workspace_uuid: `{${UUID}}`,
            repository_uuid: `{${UUID}}`,
            deployment_environment_uuid: `{${UUID}}`,
            branch_name: 'main',
          },
        ],
      },
    },
  ],
  [
    'azure_devops, with an id without quotes',
    {
      roles: ['Node'],
      join_method: 'azure_devops',
      azure_devops: {
        organization_id: UUID,
        allow: [
          {
            sub: 'p://my-organization/my-project/my-pipeline',
            project_name: 'my-project',
            pipeline_name: 'my-pipeline',
            project_id: UUID,
            definition_id: 1,
            repository_uri: 'https://github.com/acme/web.git',
            repository_version: 'e'.repeat(40),
            repository_ref: 'refs/heads/main',
          },
        ],
      },
    },
    { azure_devops: { allow: [{ definition_id: '1' }] } },
  ],
  [
    'bound_keypair, with every field empty',
    {
      roles: ['Node'],
      join_method: 'bound_keypair',
      bound_keypair: {
        onboarding: { initial_public_key: '', registration_secret: '', must_register_before: '' },
        recovery: { limit: 1, mode: 'standard' },
        rotate_after: '',
      },
    },
    { bound_keypair: { recovery: { limit: 1, mode: 'standard' } } },
  ],
  [
    'generic_oidc, every field',
    {
      roles: ['Node'],
      join_method: 'generic_oidc',
      generic_oidc: {
        issuer: 'https://example.com',
        insecure_allow_http_issuer: false,
        audience: 'teleport.example.com/generic-oidc-token',
        must_match_fields: {
          organization_name: 'acme-corp',
          example: {
            project_id: 'example-1234567',
            number_field: 1234,
            boolean_field: true,
            empty: '',
          },
        },
        allow_any: [
          { expression: 'claims.organization_name == "acme-corp"' },
          {
            conditions: [
              { attribute: 'email_verified', eq: { value: 'true' } },
              { attribute: 'example.project_name', not_eq: { value: 'invalid-project' } },
              { attribute: 'example.project_name', in: { values: ['foo', 'bar', 'baz'] } },
              { attribute: 'zone', not_in: { values: ['us-central1-a', 'us-central1-b'] } },
            ],
          },
        ],
      },
    },
    { join_method: 'oidc', oidc: { issuer: 'https://example.com' } },
  ],
]

describe('a token file of Teleport is taken as it is', () => {
  test.each(FILES)('%s', async (_, spec, as = {}) => {
    const answer = await create(spec)
    expect(answer.status, answer.text).toBe(201)
    const back = await read()
    const own = { ...(spec as Record<string, unknown>), ...as } as Record<string, unknown>
    // What was given under the words of another file, or empty, is in `as`.
    delete own['generic_oidc']
    delete own['bot_name']
    expect(back).toMatchObject(own)
  })
  test('tpm', async () => {
    const rules = [
      { description: 'build-server-100', ek_public_hash: 'd4'.repeat(32) },
      { ek_public_hash: '', ek_certificate_serial: '01:23:45:67' },
    ]
    const tpm = { ekcert_allowed_cas: [ca], allow: rules }
    const answer = await create({ roles: ['Node'], join_method: 'tpm', tpm })
    expect(answer.status, answer.text).toBe(201)
    expect(await read()).toMatchObject({
      tpm: { allow: [rules[0], { ek_certificate_serial: '01:23:45:67' }] },
    })
  })
  test('with labels, an expiry in the far future, and suggestions', async () => {
    const spec = {
      roles: ['App'],
      join_method: 'kubernetes',
      kubernetes: { type: 'in_cluster', allow: [{ service_account: 'web:agent' }] },
      suggested_labels: { env: 'prod', zone: ['a', 'b'] },
      suggested_agent_matcher_labels: { team: ['web'], '*': '*' },
    }
    const labels = { 'teleport.dev/origin': 'dynamic' }
    const answer = await create(spec, { expires: '2050-01-01T00:00:00Z', labels })
    expect(answer.status, answer.text).toBe(201)
    expect(await read()).toMatchObject({ suggested_labels: { env: ['prod'], zone: ['a', 'b'] } })
  })
})

describe('what cannot be done here is refused by its name, with what to write instead', () => {
  const allow = (rule: object, method = 'iam') => ({
    roles: ['Node'],
    join_method: method,
    allow: [rule],
  })
  const account = { aws_account: '111111111111' }
  test.each<[string, object, string, RegExp]>([
    [
      'aws_role',
      allow({ ...account, aws_role: 'arn:aws:iam::1:role/x' }, 'ec2'),
      'spec.allow.0.aws_role',
      /leave it out .*or use join_method iam/,
    ],
    [
      'aws_organization_id',
      allow({ aws_organization_id: 'o-1' }),
      'spec.allow.0.aws_organization_id',
      /name each aws_account/,
    ],
    [
      'integration',
      { ...allow(account), integration: 'aws-org' },
      'spec.integration',
      /name each aws_account/,
    ],
    [
      'an account without quotes',
      allow({ aws_account: 11_111_111_111 }),
      'spec.allow.0.aws_account',
      /Invalid|quotes/,
    ],
    [
      'method terraform, as its page had it',
      { roles: ['Node'], join_method: 'terraform', terraform: { allow: [] } },
      'spec.join_method',
      /use terraform_cloud/,
    ],
    [
      'method env0',
      { roles: ['Node'], join_method: 'env0', env0: {} },
      'spec.join_method',
      /join by oidc/,
    ],
    [
      'method oracle',
      { roles: ['Node'], join_method: 'oracle', oracle: {} },
      'spec.join_method',
      /use tpm/,
    ],
    [
      'a bot',
      { roles: ['Bot'], bot_name: 'b', join_method: 'token' },
      'spec.bot_name',
      /use a Node or App token/,
    ],
    [
      'an issuer over HTTP',
      {
        roles: ['Node'],
        join_method: 'generic_oidc',
        generic_oidc: {
          issuer: 'https://e.example',
          insecure_allow_http_issuer: true,
          must_match_fields: { a: 'b' },
        },
      },
      'spec.oidc.insecure_allow_http_issuer',
      /static_jwks/,
    ],
    [
      'an expression of numbers',
      {
        roles: ['Node'],
        join_method: 'generic_oidc',
        generic_oidc: { issuer: 'https://e.example', allow_any: [{ expression: 'claims.a == 1' }] },
      },
      'spec.oidc.allow_any.0.expression',
      /use conditions/,
    ],
    [
      'an expression that lets in anybody',
      {
        roles: ['Node'],
        join_method: 'generic_oidc',
        generic_oidc: {
          issuer: 'https://e.example',
          allow_any: [{ expression: 'claims.a != "x"' }],
        },
      },
      'spec.oidc.allow_any',
      /everybody else/,
    ],
    [
      'both kinds of rule in one entry',
      {
        roles: ['Node'],
        join_method: 'generic_oidc',
        generic_oidc: {
          issuer: 'https://e.example',
          allow_any: [
            { expression: 'claims.a == "x"', conditions: [{ attribute: 'a', eq: { value: 'x' } }] },
          ],
        },
      },
      'spec.oidc.allow_any.0',
      /either conditions or an expression/,
    ],
    [
      'rotate_after',
      {
        roles: ['Node'],
        join_method: 'bound_keypair',
        bound_keypair: { rotate_after: '2027-01-01T00:00:00Z' },
      },
      'spec.bound_keypair.rotate_after',
      /mint a new token/,
    ],
    [
      'a resource group of anybody',
      { roles: ['Node'], join_method: 'azure', azure: { allow: [{ resource_groups: ['web'] }] } },
      'spec.azure.allow.0',
      /a subscription or a tenant/,
    ],
    [
      'rules that are empty only',
      { roles: ['Node'], join_method: 'github', github: { allow: [{ repository: '' }] } },
      'spec.github.allow.0',
      /name at least one/,
    ],
    [
      'suggested values that make too long a label',
      { roles: ['Node'], suggested_labels: { a: ['x'.repeat(200), 'y'.repeat(200)] } },
      'spec.suggested_labels.a',
      /together are longer/,
    ],
  ])('%s', async (_, spec, path, message) => {
    const answer = await create(spec)
    expect(pathsOf(answer)).toContain(path)
    expect(answer.text).toMatch(message)
  })
})

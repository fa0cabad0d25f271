/**
 * For each method of the OIDC family a token block in the words of existing token files, the claims that its issuer sends for
 * somebody whom the block lets in, and changes of single claims that make them somebody else.
 */
import type { OidcMethodName } from '../../core/domain/join-method.ts'
import type { SigningAlgorithm } from './id-tokens.ts'

export interface IdTokenCase {
  readonly block: (jwks: string) => Record<string, unknown>
  readonly issuer: string
  readonly audience: string
  readonly claims: Readonly<Record<string, unknown>>
  /** Each replaces claims of the above, and is then let in by no rule. */
  readonly strangers: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly alg: SigningAlgorithm
}

const CLUSTER = 'test.internal'
const ORG = 'b9d3a9e0-1111-4222-8333-444455556666'
const base = { audience: CLUSTER, alg: 'RS256' as const }
const engine = {
  project_id: 'acme-prod',
  zone: 'europe-west1-b',
  instance_id: '7',
  instance_name: 'w',
}
const pod = (namespace: string, name: string) => ({
  namespace,
  serviceaccount: { name, uid: '1' },
  pod: { name: 'web-0', uid: '2' },
})

export const CASES: Readonly<Record<OidcMethodName, IdTokenCase>> = {
  github: {
    ...base,
    block: () => ({ allow: [{ repository: 'acme/web', ref: 'refs/heads/main' }] }),
    issuer: 'https://token.actions.githubusercontent.com',
    claims: {
      sub: 'repo:acme/web:ref:refs/heads/main',
      repository: 'acme/web',
      repository_owner: 'acme',
      ref: 'refs/heads/main',
      ref_type: 'branch',
      workflow: 'deploy',
      actor: 'ann',
    },
    strangers: {
      'another repository': { repository: 'evil/web' },
      'a repository that begins alike': { repository: 'acme/web-2' },
      'a repository in capitals': { repository: 'Acme/web' },
      'another branch': { ref: 'refs/heads/feature' },
      'no repository': { repository: undefined },
      'a list instead of a repository': { repository: ['acme/web'] },
    },
  },
  gitlab: {
    ...base,
    block: () => ({
      allow: [{ project_path: 'acme/*', ref: 'v?', ref_protected: true, environment: 'prod' }],
    }),
    issuer: 'https://gitlab.com',
    claims: {
      sub: 'project_path:acme/web:ref_type:tag:ref:v1',
      project_path: 'acme/web',
      ref: 'v1',
      ref_protected: 'true',
      environment: 'prod',
    },
    strangers: {
      'another group': { project_path: 'evil/web' },
      'a group that ends alike': { project_path: 'evil/acme/web' },
      'another tag': { ref: 'v10' },
      'a ref that is not protected': { ref_protected: 'false' },
      'an environment that a pattern would fit': { environment: 'pro' },
    },
  },
  kubernetes: {
    ...base,
    alg: 'ES256',
    block: (jwks) => ({
      type: 'static_jwks',
      static_jwks: { jwks },
      allow: [{ service_account: 'web:postern' }],
    }),
    issuer: 'https://kubernetes.default.svc.cluster.local',
    claims: {
      sub: 'system:serviceaccount:web:postern',
      'kubernetes.io': pod('web', 'postern'),
    },
    strangers: {
      'another namespace': {
        sub: 'system:serviceaccount:evil:postern',
        'kubernetes.io': pod('evil', 'postern'),
      },
      'another account': {
        sub: 'system:serviceaccount:web:default',
        'kubernetes.io': pod('web', 'default'),
      },
      'a subject that the claims contradict': { 'kubernetes.io': pod('web', 'default') },
      'a token of no pod': {
        'kubernetes.io': { namespace: 'web', serviceaccount: { name: 'postern' } },
      },
      'a name with a colon': {
        sub: 'system:serviceaccount:web:postern:x',
        'kubernetes.io': pod('web', 'postern:x'),
      },
      'no structured claims': { 'kubernetes.io': undefined },
    },
  },
  circleci: {
    ...base,
    audience: ORG,
    block: () => ({ organization_id: ORG, allow: [{ project_id: 'p-1', context_id: 'c-2' }] }),
    issuer: `https://oidc.circleci.com/org/${ORG}`,
    claims: {
      sub: `org/${ORG}/project/p-1/user/u`,
      'oidc.circleci.com/project-id': 'p-1',
      'oidc.circleci.com/context-ids': ['c-1', 'c-2'],
    },
    strangers: {
      'another project': { 'oidc.circleci.com/project-id': 'p-2' },
      'other contexts': { 'oidc.circleci.com/context-ids': ['c-1'] },
      'no contexts': { 'oidc.circleci.com/context-ids': undefined },
      'a text of contexts': { 'oidc.circleci.com/context-ids': 'c-1 c-2' },
    },
  },
  buildkite: {
    ...base,
    block: () => ({ allow: [{ organization_slug: 'acme', pipeline_slug: 'web' }] }),
    issuer: 'https://agent.buildkite.com',
    claims: {
      sub: 'organization:acme:pipeline:web:ref:refs/heads/main:commit:c:step:s',
      organization_slug: 'acme',
      pipeline_slug: 'web',
      build_branch: 'main',
    },
    strangers: {
      'another organisation': { organization_slug: 'evil' },
      'another pipeline': { pipeline_slug: 'web-2' },
    },
  },
  terraform_cloud: {
    ...base,
    block: () => ({ allow: [{ organization_name: 'acme', workspace_name: 'prod' }] }),
    issuer: 'https://app.terraform.io',
    claims: {
      sub: 'organization:acme:project:p:workspace:prod:run_phase:apply',
      terraform_organization_name: 'acme',
      terraform_workspace_name: 'prod',
      terraform_run_phase: 'apply',
    },
    strangers: {
      'another organisation': { terraform_organization_name: 'evil' },
      'another workspace': { terraform_workspace_name: 'dev' },
    },
  },
  spacelift: {
    ...base,
    audience: 'acme.app.spacelift.io',
    block: () => ({
      hostname: 'acme.app.spacelift.io',
      allow: [{ space_id: 'root-*', caller_type: 'stack' }],
    }),
    issuer: 'https://acme.app.spacelift.io',
    claims: {
      sub: 'space:root-*:stack:web:run_type:TRACKED:scope:write',
      spaceId: 'root-*',
      callerType: 'stack',
      callerId: 'web',
      scope: 'write',
    },
    strangers: {
      'a space that only a pattern would fit': { spaceId: 'root-1' },
      'another caller': { callerType: 'module' },
    },
  },
  bitbucket: {
    ...base,
    audience: 'ari:cloud:bitbucket::workspace/w-1',
    block: () => ({
      audience: 'ari:cloud:bitbucket::workspace/w-1',
      identity_provider_url:
        'https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc',
      allow: [{ workspace_uuid: '{w-1}', repository_uuid: '{r-1}', branch_name: 'main' }],
    }),
    issuer: 'https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc',
    claims: {
      sub: '{r-1}:{s-1}',
      workspaceUuid: '{w-1}',
      repositoryUuid: '{r-1}',
      branchName: 'main',
    },
    strangers: {
      'another workspace': { workspaceUuid: '{w-2}' },
      'another repository': { repositoryUuid: '{r-2}' },
      'another branch': { branchName: 'dev' },
    },
  },
  azure_devops: {
    ...base,
    audience: 'api://AzureADTokenExchange',
    block: () => ({
      organization_id: ORG,
      allow: [{ project_name: 'web', pipeline_name: 'deploy', repository_ref: 'refs/heads/main' }],
    }),
    issuer: `https://vstoken.dev.azure.com/${ORG}`,
    claims: {
      sub: 'p://acme/web/deploy',
      org_id: ORG,
      prj_id: 'p-1',
      rpo_ref: 'refs/heads/main',
    },
    strangers: {
      'another project': { sub: 'p://acme/other/deploy' },
      'another pipeline': { sub: 'p://acme/web/test' },
      'a pipeline with a slash': { sub: 'p://acme/x/web/deploy' },
      'a service connection': { sub: 'sc://acme/web/deploy' },
      'another branch': { rpo_ref: 'refs/heads/dev' },
    },
  },
  gcp: {
    ...base,
    block: () => ({
      allow: [
        {
          project_ids: ['acme-prod', 'acme-dev'],
          locations: ['europe-west1', 'us-east1-c'],
          service_accounts: ['web@acme-prod.iam.gserviceaccount.com'],
        },
      ],
    }),
    issuer: 'https://accounts.google.com',
    claims: {
      sub: '1122334455',
      email: 'web@acme-prod.iam.gserviceaccount.com',
      email_verified: true,
      google: { compute_engine: engine },
    },
    strangers: {
      'another project': { google: { compute_engine: { ...engine, project_id: 'evil' } } },
      'another region': { google: { compute_engine: { ...engine, zone: 'asia-east1-a' } } },
      'another account': { email: 'evil@acme-prod.iam.gserviceaccount.com' },
      'an address that nobody verified': { email_verified: false },
      'no machine': { google: undefined },
    },
  },
  oidc: {
    ...base,
    alg: 'ES256',
    audience: 'postern',
    block: () => ({
      issuer: 'https://ci.example.com/realms/a',
      audience: 'postern',
      must_match_fields: { team: 'web', job: { protected: true, level: 2 } },
      allow_any: [
        {
          conditions: [
            { attribute: 'job.branch', in: { values: ['main', 'release'] } },
            { attribute: 'job.trigger', not_eq: { value: 'fork' } },
          ],
        },
        { conditions: [{ attribute: 'admin.example.com', eq: { value: 'true' } }] },
      ],
    }),
    issuer: 'https://ci.example.com/realms/a',
    claims: {
      sub: 'job-1',
      team: 'web',
      job: { protected: true, level: 2, branch: 'main', trigger: 'push' },
    },
    strangers: {
      'another team': { team: 'ops' },
      'a nested claim of another type': {
        job: { protected: 'true', level: 2, branch: 'main', trigger: 'push' },
      },
      'another number': { job: { protected: true, level: 3, branch: 'main', trigger: 'push' } },
      'another branch': { job: { protected: true, level: 2, branch: 'x', trigger: 'push' } },
      'a forbidden trigger': {
        job: { protected: true, level: 2, branch: 'main', trigger: 'fork' },
      },
      'no trigger, so that not_eq has nothing to compare': {
        job: { protected: true, level: 2, branch: 'main' },
      },
      'no object': { job: 'main' },
    },
  },
}

/**
 * The id token issuers that we know, in one table. Names of blocks, fields and rules are those that token files in the field use;
 * claims are the issuers' own. Adding one is an entry here, a collector in agent/join, a page in docs/join.
 */
import * as z from 'zod'
import type { OidcMethodName } from '../../domain/join-method.ts'
import { object, text, type Claims } from './claims.ts'
import { among, anyOf, derived, exact, flag, glob, inside } from './fields.ts'
import { genericPreset } from './generic.ts'
import { staticJwks } from './jwks.ts'
import { kubernetesPreset } from './kubernetes.ts'
import { audience, host, issuerUrl, preset, urlWord } from './preset.ts'

const github = preset({
  name: 'github',
  shape: {
    enterprise_server_host: host.optional(),
    enterprise_slug: urlWord.optional(),
    static_jwks: staticJwks.optional(),
  },
  check: (block) =>
    block.enterprise_server_host !== undefined && block.enterprise_slug !== undefined
      ? 'give enterprise_server_host or enterprise_slug, never both'
      : undefined,
  trusted: (block) => ({
    issuer:
      block.enterprise_server_host === undefined
        ? `https://token.actions.githubusercontent.com${block.enterprise_slug === undefined ? '' : `/${block.enterprise_slug}`}`
        : `https://${block.enterprise_server_host}/_services/token`,
    jwks: block.static_jwks,
  }),
  fields: {
    sub: exact('sub'),
    repository: exact('repository'),
    repository_owner: exact('repository_owner'),
    workflow: exact('workflow'),
    environment: exact('environment'),
    actor: exact('actor'),
    ref: exact('ref'),
    ref_type: exact('ref_type'),
  },
  needs: [['repository', 'repository_owner', 'sub']],
  noted: ['repository', 'ref', 'workflow', 'environment', 'actor', 'event_name', 'run_id', 'sha'],
})

const gitlab = preset({
  name: 'gitlab',
  shape: { domain: host.default('gitlab.com'), static_jwks: staticJwks.optional() },
  trusted: (block) => ({ issuer: `https://${block.domain}`, jwks: block.static_jwks }),
  fields: {
    sub: glob('sub'),
    ref: glob('ref'),
    ref_type: exact('ref_type'),
    namespace_path: glob('namespace_path'),
    project_path: glob('project_path'),
    pipeline_source: exact('pipeline_source'),
    environment: exact('environment'),
    user_login: exact('user_login'),
    user_id: exact('user_id'),
    user_email: exact('user_email'),
    ref_protected: flag('ref_protected'),
    environment_protected: flag('environment_protected'),
    ci_config_sha: exact('ci_config_sha'),
    ci_config_ref_uri: exact('ci_config_ref_uri'),
    deployment_tier: exact('deployment_tier'),
    project_visibility: exact('project_visibility'),
  },
  needs: [['sub', 'project_path', 'namespace_path', 'ci_config_ref_uri']],
  noted: ['project_path', 'ref', 'pipeline_source', 'environment', 'user_login', 'job_id'],
})

const circleci = preset({
  name: 'circleci',
  shape: { organization_id: urlWord },
  trusted: (block) => ({
    issuer: `https://oidc.circleci.com/org/${block.organization_id}`,
    // What CircleCI puts into the token that every job gets; a job cannot choose.
    audience: block.organization_id,
  }),
  fields: {
    project_id: exact('oidc.circleci.com/project-id'),
    context_id: among('oidc.circleci.com/context-ids'),
  },
  needs: [['project_id', 'context_id']],
  noted: ['oidc.circleci.com/project-id', 'oidc.circleci.com/context-ids'],
})

const buildkite = preset({
  name: 'buildkite',
  shape: {},
  trusted: () => ({ issuer: 'https://agent.buildkite.com' }),
  fields: {
    sub: glob('sub'),
    organization_slug: exact('organization_slug'),
    pipeline_slug: exact('pipeline_slug'),
    build_branch: exact('build_branch'),
    build_tag: exact('build_tag'),
    step_key: exact('step_key'),
  },
  // Slugs of pipelines are unique inside an organisation only.
  needs: [['organization_slug']],
  noted: ['organization_slug', 'pipeline_slug', 'build_number', 'build_branch', 'job_id'],
})

const terraformCloud = preset({
  name: 'terraform_cloud',
  shape: { audience: audience.optional(), hostname: host.default('app.terraform.io') },
  trusted: (block) => ({ issuer: `https://${block.hostname}`, audience: block.audience }),
  fields: {
    organization_id: exact('terraform_organization_id'),
    organization_name: exact('terraform_organization_name'),
    project_id: exact('terraform_project_id'),
    project_name: exact('terraform_project_name'),
    workspace_id: exact('terraform_workspace_id'),
    workspace_name: exact('terraform_workspace_name'),
    run_phase: exact('terraform_run_phase'),
  },
  // Names of projects and workspaces are unique inside an organisation only.
  needs: [
    ['organization_id', 'organization_name'],
    ['project_id', 'project_name', 'workspace_id', 'workspace_name'],
  ],
  noted: [
    'terraform_organization_name',
    'terraform_project_name',
    'terraform_workspace_name',
    'terraform_run_phase',
    'terraform_run_id',
  ],
})

const spacelift = preset({
  name: 'spacelift',
  shape: { hostname: host, enable_glob_matching: z.boolean().default(false) },
  trusted: (block) => ({ issuer: `https://${block.hostname}`, audience: block.hostname }),
  globs: (block) => block.enable_glob_matching,
  fields: {
    space_id: glob('spaceId'),
    caller_type: exact('callerType'),
    caller_id: glob('callerId'),
    scope: exact('scope'),
  },
  needs: [['space_id', 'caller_id']],
  noted: ['spaceId', 'callerType', 'callerId', 'runType', 'runId', 'scope'],
})

const bitbucket = preset({
  name: 'bitbucket',
  shape: { audience, identity_provider_url: issuerUrl },
  trusted: (block) => ({ issuer: block.identity_provider_url, audience: block.audience }),
  fields: {
    workspace_uuid: exact('workspaceUuid'),
    repository_uuid: exact('repositoryUuid'),
    deployment_environment_uuid: exact('deploymentEnvironmentUuid'),
    branch_name: exact('branchName'),
  },
  needs: [['workspace_uuid', 'repository_uuid']],
  noted: ['workspaceUuid', 'repositoryUuid', 'branchName', 'pipelineUuid', 'stepUuid'],
})

/** `p://<organisation>/<project>/<pipeline>`, the subject of a pipeline; no part may hold a slash. */
const pipelinePart = (index: number) => (claims: Claims) => {
  const parts = text(claims, 'sub')?.match(/^p:\/\/([^/]+)\/([^/]+)\/([^/]+)$/)
  return parts?.[index]
}

const azureDevops = preset({
  name: 'azure_devops',
  shape: { organization_id: urlWord },
  trusted: (block) => ({
    issuer: `https://vstoken.dev.azure.com/${block.organization_id}`,
    // Fixed by Azure DevOps; a pipeline cannot choose.
    audience: 'api://AzureADTokenExchange',
  }),
  fields: {
    sub: exact('sub'),
    project_name: derived(pipelinePart(2)),
    pipeline_name: derived(pipelinePart(3)),
    project_id: exact('prj_id'),
    definition_id: exact('def_id'),
    repository_uri: exact('rpo_uri'),
    repository_version: exact('rpo_ver'),
    repository_ref: exact('rpo_ref'),
  },
  needs: [['sub', 'project_name', 'project_id']],
  noted: ['org_id', 'prj_id', 'def_id', 'rpo_uri', 'rpo_ref', 'run_id'],
})

const zone = inside('compute', 'zone')
const compute = (claims: Claims): Claims => ({
  compute: object(object(claims, 'google'), 'compute_engine'),
})
/** A zone, `europe-west1-b`, and the region that it lies in. */
function locations(claims: Claims): readonly (string | undefined)[] {
  const where = zone(compute(claims))
  return where === undefined ? [] : [where, where.replace(/-[a-z]$/, '')]
}
/** An address counts only when Google says that it was verified. */
const serviceAccount = (claims: Claims): string | undefined =>
  claims['email_verified'] === true ? text(claims, 'email') : undefined

const gcp = preset({
  name: 'gcp',
  shape: {},
  trusted: () => ({ issuer: 'https://accounts.google.com' }),
  fields: {
    project_ids: anyOf((claims) => [inside('compute', 'project_id')(compute(claims))]),
    locations: anyOf(locations),
    service_accounts: anyOf((claims) => [serviceAccount(claims)]),
  },
  needs: [['project_ids']],
  noted: [
    'email',
    'google.compute_engine.project_id',
    'google.compute_engine.zone',
    'google.compute_engine.instance_id',
    'google.compute_engine.instance_name',
  ],
})

export const PRESETS = [
  github,
  gitlab,
  kubernetesPreset,
  circleci,
  buildkite,
  terraformCloud,
  spacelift,
  bitbucket,
  azureDevops,
  gcp,
  genericPreset,
] as const satisfies readonly { readonly name: OidcMethodName }[]
/** Their blocks in the spec of a token. */
export const OIDC_BLOCKS = Object.fromEntries(
  PRESETS.map(({ name, block }) => [name, block.optional()]),
) as unknown as Record<OidcMethodName, z.ZodOptional>

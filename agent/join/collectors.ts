/** The collectors, in one list: for each join method, where this machine finds its evidence. */
import type { IdTokenEvidence } from '../../core/join/oidc/method.ts'
import type { OidcMethodName } from '../../core/join/oidc/presets.ts'
import type { IdentityKind } from '../../core/domain/service.ts'
import { invariant } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { IdTokenSource as ConfiguredSource, JoinConfig } from '../config.ts'
import { azureCollector } from './azure.ts'
import { boundKeypairCollector } from './bound-keypair.ts'
import type { EvidenceCollector } from './collector.ts'
import { ec2Collector } from './ec2.ts'
import { iamCollector } from './iam.ts'
import {
  fromAzureDevops,
  fromBuildkite,
  fromCommand,
  fromEnv,
  fromFile,
  fromGithub,
  fromGoogle,
  type IdTokenSource,
  type Machine,
} from './id-token.ts'
import { tokenCollector } from './token.ts'
import { tpmCollector } from './tpm/tpm.ts'

const KUBERNETES_FILE = '/var/run/secrets/tokens/join-sa-token'

/** Where the id token of each method is when the configuration does not say. */
const SOURCES: Readonly<Record<Exclude<OidcMethodName, 'oidc'>, IdTokenSource>> = {
  github: fromGithub,
  gitlab: fromEnv(
    ['POSTERN_ID_TOKEN', 'TBOT_GITLAB_JWT'],
    'the job needs `id_tokens: { POSTERN_ID_TOKEN: { aud: <cluster> } }`',
  ),
  kubernetes: fromFile((env) => env['KUBERNETES_TOKEN_PATH'] ?? KUBERNETES_FILE),
  circleci: fromEnv(['CIRCLE_OIDC_TOKEN_V2'], 'the job must use a context'),
  buildkite: fromBuildkite,
  terraform_cloud: fromEnv(
    ['TFC_WORKLOAD_IDENTITY_TOKEN'],
    'the workspace needs TFC_WORKLOAD_IDENTITY_AUDIENCE',
  ),
  spacelift: fromEnv(['SPACELIFT_OIDC_TOKEN'], 'this is no Spacelift run'),
  bitbucket: fromEnv(['BITBUCKET_STEP_OIDC_TOKEN'], 'the step needs `oidc: true`'),
  azure_devops: fromAzureDevops,
  gcp: fromGoogle,
}

function configured(source: ConfiguredSource): IdTokenSource {
  switch (source.kind) {
    case 'file':
      return fromFile(() => source.path)
    case 'env':
      return fromEnv([source.name], 'join_params names it')
    case 'command':
      return fromCommand(source.command)
  }
}

export interface CollectorDeps extends Machine {
  readonly service: IdentityKind
  readonly dataDir: string
  readonly random: Random
}

export function collectorFor(join: JoinConfig, machine: CollectorDeps): EvidenceCollector {
  if (join.method === 'token') return tokenCollector(join.token)
  const { method, tokenName, idToken, boundKeypair, tpm, azure } = join
  if (method === 'iam') return iamCollector(tokenName, machine)
  if (method === 'ec2') return ec2Collector(tokenName, machine)
  if (method === 'bound_keypair')
    return boundKeypairCollector(tokenName, { ...machine, config: boundKeypair })
  if (method === 'azure')
    return azureCollector(tokenName, { ...machine, clientId: azure?.clientId })
  if (method === 'tpm') return tpmCollector(tokenName, { ...machine, config: tpm })
  const source = idToken ? configured(idToken) : method === 'oidc' ? undefined : SOURCES[method]
  invariant(source, 'the configuration says where the id token is')
  return {
    name: method,
    handle: async () => tokenName,
    collect: async (_challenge, { signal, cluster }): Promise<IdTokenEvidence> => ({
      id_token: await source(machine, cluster, signal),
    }),
  }
}

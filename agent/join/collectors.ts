/** The collectors, in one list: for each join method, where this machine finds its evidence. */
import type { IdTokenEvidence } from '../../core/join/oidc/method.ts'
import type { OidcMethodName } from '../../core/domain/join-method.ts'
import type { IdentityKind } from '../../core/domain/service.ts'
import { invariant } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { IdTokenSource as ConfiguredSource, JoinConfig } from '../config.ts'
import type { EvidenceCollector } from './collector.ts'
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

/** Loads the method that is asked for and no other: an agent that has joined needs none of them. */
export async function collectorFor(
  join: JoinConfig,
  machine: CollectorDeps,
): Promise<EvidenceCollector> {
  if (join.method === 'token') return tokenCollector(join.token)
  const { method, tokenName, idToken, boundKeypair, tpm, azure } = join
  switch (method) {
    case 'iam':
      return (await import('./iam.ts')).iamCollector(tokenName, machine)
    case 'ec2':
      return (await import('./ec2.ts')).ec2Collector(tokenName, machine)
    case 'bound_keypair': {
      const { boundKeypairCollector } = await import('./bound-keypair.ts')
      return boundKeypairCollector(tokenName, { ...machine, config: boundKeypair })
    }
    case 'azure': {
      const { azureCollector } = await import('./azure.ts')
      return azureCollector(tokenName, { ...machine, clientId: azure?.clientId })
    }
    case 'tpm': {
      const { tpmCollector } = await import('./tpm/tpm.ts')
      return tpmCollector(tokenName, { ...machine, config: tpm })
    }
    default: {
      const source =
        (idToken && configured(idToken)) ?? (method === 'oidc' ? undefined : SOURCES[method])
      invariant(source, 'the configuration says where the id token is')
      return {
        name: method,
        handle: async () => tokenName,
        collect: async (_challenge, { signal, cluster }): Promise<IdTokenEvidence> => ({
          id_token: await source(machine, cluster, signal),
        }),
      }
    }
  }
}

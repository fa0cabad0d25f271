/**
 * A deployed stack as CloudFormation describes it, asked with the credentials that AWS's own tools would use: environment, profile, SSO,
 * role. The credentials stay in this process.
 */
import {
  CloudFormationClient,
  DescribeStacksCommand,
  ListStackResourcesCommand,
  type CloudFormationClientConfig,
} from '@aws-sdk/client-cloudformation'
import type { AwsCredentials } from '../../core/aws/sigv4.ts'
import { AppError } from '../../core/errors.ts'
import { HintedError } from '../ui/report.ts'

export interface DeployedStack {
  readonly name: string
  readonly region: string
  /** `CREATE_COMPLETE`, `UPDATE_IN_PROGRESS` and so on. */
  readonly status: string
  readonly outputs: ReadonlyMap<string, string>
  /** Only when asked for with resources. */
  readonly resources: readonly StackResource[]
  /** Asked anew when they expire. */
  credentials(): Promise<AwsCredentials>
}

export interface StackResource {
  /** `AWS::Lambda::Function`. */
  readonly type: string
  readonly logicalId: string
  /** Name, id or ARN, by type. */
  readonly id: string
}

async function resourcesOf(client: CloudFormationClient, stack: string): Promise<StackResource[]> {
  const found: StackResource[] = []
  let next: string | undefined
  do {
    const page = await client.send(
      new ListStackResourcesCommand({ StackName: stack, ...(next && { NextToken: next }) }),
    )
    for (const one of page.StackResourceSummaries ?? [])
      found.push({
        type: one.ResourceType ?? '',
        logicalId: one.LogicalResourceId ?? '',
        id: one.PhysicalResourceId ?? '',
      })
    next = page.NextToken
  } while (next !== undefined)
  return found
}

const nameOf = (e: unknown): string => (e instanceof Error ? e.name : '')

/** What AWS answered, as one sentence and what to do about it. The SDK's texts hold no secrets. */
function explain(e: unknown, stack: string, region: string): Error {
  const because = e instanceof Error ? e.message : String(e)
  switch (nameOf(e)) {
    case 'CredentialsProviderError':
    case 'TokenProviderError':
      return new HintedError(
        new AppError('ERR_UNAUTHENTICATED', 'no AWS credentials were found', {
          cause: e,
          internal: because,
        }),
        'sign in as for cdk deploy: aws sso login, AWS_PROFILE, or AWS_ACCESS_KEY_ID',
      )
    case 'ExpiredToken':
    case 'ExpiredTokenException':
      return new HintedError(
        new AppError('ERR_UNAUTHENTICATED', 'the AWS credentials have expired', { cause: e }),
        'sign in to AWS again',
      )
    case 'AccessDenied':
    case 'AccessDeniedException':
      return new HintedError(
        new AppError('ERR_FORBIDDEN', `AWS: ${because}`, { cause: e }),
        'the identity needs cloudformation:DescribeStacks on the stack, for doctor --aws ListStackResources too',
      )
    case 'ValidationError':
      return new HintedError(
        new AppError('ERR_NOT_FOUND', `there is no stack ${stack} in ${region}`, { cause: e }),
        'check --stack and --region; the deployment printed both',
      )
    default:
      return new AppError('ERR_UNREACHABLE', `CloudFormation in ${region}: ${because}`, {
        cause: e,
      })
  }
}

export async function readStack(
  name: string,
  wanted: string | undefined,
  withResources = false,
): Promise<DeployedStack> {
  const config: CloudFormationClientConfig = wanted === undefined ? {} : { region: wanted }
  const client = new CloudFormationClient(config)
  let region: string
  try {
    region = await client.config.region()
  } catch (cause) {
    throw new HintedError(
      new AppError('ERR_USAGE', 'which AWS region?', { cause }),
      'give --region, as the deployment printed it, or set AWS_REGION',
    )
  }
  try {
    const { Stacks } = await client.send(new DescribeStacksCommand({ StackName: name }))
    const found = Stacks?.[0]
    return {
      name,
      region,
      status: found?.StackStatus ?? 'UNKNOWN',
      outputs: new Map(
        (found?.Outputs ?? []).map(({ OutputKey = '', OutputValue = '' }) => [
          OutputKey,
          OutputValue,
        ]),
      ),
      resources: withResources ? await resourcesOf(client, name) : [],
      async credentials() {
        const { accessKeyId, secretAccessKey, sessionToken } = await client.config.credentials()
        return { accessKeyId, secretAccessKey, sessionToken }
      },
    }
  } catch (e) {
    throw explain(e, name, region)
  } finally {
    client.destroy()
  }
}

/** An output that this version's stacks have. */
export function outputOf(stack: DeployedStack, output: string): string {
  const value = stack.outputs.get(output)
  if (value !== undefined) return value
  throw new HintedError(
    new AppError('ERR_NOT_FOUND', `the stack ${stack.name} has no output ${output}`),
    `is it the control plane's stack of this version? its status is ${stack.status}`,
  )
}

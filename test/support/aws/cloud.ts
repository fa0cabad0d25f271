/**
 * A deployed control plane on this machine: the synthesised template and the very bundles that `cdk deploy` would upload, behind an HTTP
 * API, over DynamoDB and KMS that check signatures and IAM policies. What stands between this and an account is listed in docs/deploy.md.
 */
import { App } from 'aws-cdk-lib'
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../core/clock.ts'
import { ensureTable } from '../../../functions/store/open.ts'
import { readContext } from '../../../infra/context.ts'
import { ControlPlane } from '../../../infra/stacks/control-plane.ts'
import { fakeCloudFormation, type FakeCloudFormation } from '../../fakes/cloudformation.ts'
import { fakeSts, type FakeSts } from '../../fakes/sts.ts'
import { tableBackend } from './emulator.ts'
import { awsEndpoint, type AwsEndpoint } from './endpoint.ts'
import { httpApi, type HttpApi, type IamCaller } from './http-api.ts'
import type { Statement } from './iam.ts'
import { fakeKms, type FakeKms } from './kms.ts'
import { lambda, type Lambda } from './lambda.ts'
import { ACCOUNT, readDeployed, REGION, type Deployed, type DeployedFunction } from './template.ts'

const STACK = 'Postern'

export interface Cloud {
  readonly dir: string
  readonly deployed: Deployed
  readonly api: HttpApi
  readonly aws: AwsEndpoint
  readonly kms: FakeKms
  readonly sts: FakeSts
  readonly cloudFormation: FakeCloudFormation
  readonly lambda: Lambda
  /** A session under these policies, for what runs under a role and is no function; answers its environment. */
  session(who: string, policies: readonly Statement[]): Record<string, string>
  /** Credentials of somebody in the account, for the IAM routes. */
  caller(name: string, mayInvoke: boolean): Record<string, string>
  /** A client that nobody checks, to look at the table. */
  readonly admin: DynamoDBClient
  close(): Promise<void>
}

/** Synthesises with bundling, as for a deployment: every asset lies in the directory afterwards. */
function synthesise(
  outdir: string,
  context: { cluster: string; proxies: readonly string[] },
): void {
  // The flags of a deployment from a clone.
  const cdk = JSON.parse(readFileSync('cdk.json', 'utf8')) as { context: Record<string, unknown> }
  const app = new App({
    outdir,
    context: { ...cdk.context, 'postern:cluster': context.cluster },
    analyticsReporting: false,
  })
  new ControlPlane(app, STACK, readContext(app.node), { proxies: context.proxies })
  app.synth()
}

/** `join` of `joinFunction6F681BE8`. */
const verbOf = (fn: DeployedFunction): string => fn.id.replace(/Function[0-9A-F]{8}$/, '')

export async function openCloud(options: {
  readonly cluster: string
  readonly proxies: readonly string[]
}): Promise<Cloud> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-cloud-'))
  const api = await httpApi()
  const outdir = join(dir, 'cdk.out')
  synthesise(outdir, options)
  const deployed = readDeployed(outdir, STACK, api.url)
  const table = await tableBackend()
  const { admin } = table
  await ensureTable(admin, deployed.table.name)
  const kms = fakeKms(deployed.keys.filter((key) => key.delegatesToIam))
  const aws = await awsEndpoint({
    dynamodb: (operation, input) => table.handle(operation, input),
    kms,
    tableArn: (name) => deployed.table.arn.replace(/[^/]*$/, name),
  })
  const sts = await fakeSts(systemClock)
  const cloudFormation = await fakeCloudFormation({
    callers: api.callers,
    stack: STACK,
    outputs: deployed.outputs,
  })
  const network = join(dir, 'network.json')
  writeFileSync(network, JSON.stringify({ sts: sts.at }))

  let sessions = 0
  const session: Cloud['session'] = (who, policies) => {
    const id = `ASIA${String(++sessions).padStart(16, '0')}`
    const holder = { secretAccessKey: `secret/of+${who}`, sessionToken: `token/of+${who}==` }
    aws.sessions.set(id, { ...holder, who, policies })
    return {
      AWS_REGION: REGION,
      AWS_DEFAULT_REGION: REGION,
      AWS_ACCESS_KEY_ID: id,
      AWS_SECRET_ACCESS_KEY: holder.secretAccessKey,
      AWS_SESSION_TOKEN: holder.sessionToken,
      AWS_ENDPOINT_URL_DYNAMODB: aws.url,
      AWS_ENDPOINT_URL_KMS: aws.url,
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    }
  }
  const roles = new Map<string, Record<string, string>>()
  const functions = lambda({
    functions: deployed.functions,
    network,
    platform: (fn) => {
      const role = roles.get(fn.name) ?? session(verbOf(fn), fn.policies)
      roles.set(fn.name, role)
      return {
        ...role,
        TZ: ':UTC',
        LANG: 'en_US.UTF-8',
        AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x',
        AWS_LAMBDA_FUNCTION_NAME: fn.name,
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
        LAMBDA_TASK_ROOT: fn.code,
      }
    },
  })
  api.deploy({ routes: deployed.routes, lambda: functions, throttle: deployed.throttle })

  return {
    dir,
    deployed,
    api,
    aws,
    kms,
    sts,
    cloudFormation,
    lambda: functions,
    session,
    caller(name, mayInvoke) {
      const id = `AKIA${name
        .toUpperCase()
        .replaceAll(/[^A-Z0-9]/g, 'X')
        .padEnd(16, '0')
        .slice(0, 16)}`
      const holder: IamCaller = {
        secretAccessKey: `secret/of+${name}`,
        arn: `arn:aws:iam::${ACCOUNT}:user/${name}`,
        userId: `AIDA${name.toUpperCase()}`,
        mayInvoke,
      }
      api.callers.set(id, holder)
      return {
        AWS_REGION: REGION,
        AWS_ACCESS_KEY_ID: id,
        AWS_SECRET_ACCESS_KEY: holder.secretAccessKey,
        AWS_ENDPOINT_URL_CLOUDFORMATION: cloudFormation.url,
        AWS_EC2_METADATA_DISABLED: 'true',
        AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
      }
    },
    admin,
    async close() {
      await functions.close()
      await api.close()
      await aws.close()
      await sts.close()
      await cloudFormation.close()
      await table.close(deployed.table.name)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

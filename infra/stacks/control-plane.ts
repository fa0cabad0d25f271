/**
 * The control plane: one table, one signing key per CA, one function and one role per verb, one HTTP API, the bucket of records. It
 * costs next to nothing while nobody calls it.
 */
import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib'
import type { HttpApi } from 'aws-cdk-lib/aws-apigatewayv2'
import type { ITableV2 } from 'aws-cdk-lib/aws-dynamodb'
import { PolicyStatement } from 'aws-cdk-lib/aws-iam'
import { Key, KeySpec, KeyUsage } from 'aws-cdk-lib/aws-kms'
import { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda'
import type { Topic } from 'aws-cdk-lib/aws-sns'
import type { Construct } from 'constructs'
import { acknowledge } from '../acknowledged.ts'
import { alarmTopic, posternAlarm } from '../constructs/alarm.ts'
import { grantRotatedKeys, grantRotation } from '../constructs/ca-keys.ts'
import { addVerb, posternApi } from '../constructs/http-api.ts'
import { recordsBucket } from '../constructs/records-bucket.ts'
import { daily, hourly } from '../constructs/schedule.ts'
import { offerAgents } from '../constructs/agent-archives.ts'
import { posternTable, restoredTable } from '../constructs/table.ts'
import { VerbFunction, type VerbFunctionProps } from '../constructs/verb-function.ts'
import type { Artefacts } from '../artefacts.ts'
import type { DeployContext } from '../context.ts'
import { VERBS, type HttpVerb } from '../routes.ts'

/** Which CA each verb signs with, and how its function is told. What is absent signs nothing. */
const SIGNS = {
  join: { key: 'HostCa', kind: 'host', variable: 'POSTERN_HOST_CA_KEY' },
  login: { key: 'UserCa', kind: 'user', variable: 'POSTERN_USER_CA_KEY' },
  policy: { key: 'Policy', kind: 'policy', variable: 'POSTERN_POLICY_KEY' },
} as const
type SigningVerb = keyof typeof SIGNS
const signs = (verb: HttpVerb): verb is SigningVerb => Object.hasOwn(SIGNS, verb)
/** Verbs that seal something: challenges, remembered answers, cursors. Each has a secret of its own, made of one key (docs/adr/0046). */
const SEALS: readonly HttpVerb[] = ['join', 'api']

export interface ControlPlaneProps extends StackProps {
  /** `host:port` of the proxies, told to everyone who asks. */
  readonly proxies: readonly string[]
  /** Absent: no agent can be installed from here. */
  readonly artefacts?: Artefacts
}

export class ControlPlane extends Stack {
  readonly table: ITableV2
  readonly api: HttpApi
  readonly alarms: Topic | undefined
  private readonly keys: Readonly<Record<SigningVerb, Key>>
  private readonly sealKey: Key

  constructor(scope: Construct, id: string, context: DeployContext, props: ControlPlaneProps) {
    super(scope, id, props)
    this.table =
      context.table === undefined
        ? posternTable(this, 'Table')
        : restoredTable(this, 'Table', context.table)
    this.api = posternApi(this, 'Api', context.cluster)
    this.alarms = alarmTopic(this, context.alarmEmail)
    const key = (verb: SigningVerb): Key =>
      this.signingKey(`${SIGNS[verb].key}Key`, `Postern ${SIGNS[verb].key} signing key`)
    this.keys = { join: key('join'), login: key('login'), policy: key('policy') }
    this.sealKey = this.macKey('SealKey')
    for (const verb of VERBS) this.verb(verb, context, props)
    this.archive(context)
    this.watch()
    new CfnOutput(this, 'ApiUrl', { value: this.api.apiEndpoint })
    new CfnOutput(this, 'Cluster', { value: context.cluster })
    new CfnOutput(this, 'FirstOperator', {
      value: `npx postern bootstrap --stack ${this.stackName} --region ${this.region}`,
      description: 'Run this once, with the credentials that deployed',
    })
    new CfnOutput(this, 'TableName', { value: this.table.tableName })
    acknowledge(this, 'plane')
  }

  private verb(verb: HttpVerb, context: DeployContext, given: ControlPlaneProps): void {
    const sealKey = SEALS.includes(verb) ? this.sealKey : undefined
    const keyVariables = Object.entries(SIGNS).map(([by, { variable }]): [string, string] => [
      variable,
      this.keys[by as SigningVerb].keyArn,
    ])
    const props: VerbFunctionProps = {
      verb,
      table: this.table,
      ...(signs(verb) && { signingKey: this.keys[verb] }),
      // It certifies what the others sign with, so it sees the public halves of all.
      publicKeys: verb === 'bootstrap' ? Object.values(this.keys) : [],
      ...(sealKey && { sealKey }),
      environment: {
        POSTERN_TABLE: this.table.tableName,
        POSTERN_ORIGINS: this.api.apiEndpoint,
        POSTERN_PROXIES: given.proxies.join(','),
        ...(signs(verb) && { [SIGNS[verb].variable]: this.keys[verb].keyArn }),
        ...(verb === 'bootstrap' && {
          POSTERN_CLUSTER: context.cluster,
          ...Object.fromEntries(keyVariables),
        }),
        ...(sealKey && { POSTERN_SEAL_KEY: sealKey.keyArn }),
      },
    }
    const made = new VerbFunction(this, verb, props)
    if (verb === 'api' && given.artefacts) offerAgents(this, made, given.artefacts)
    if (signs(verb)) grantRotatedKeys(made.role, context.cluster, SIGNS[verb].kind)
    if (verb === 'rotate') {
      grantRotation(made.role, context.cluster)
      hourly(this, 'RotateHourly', made.fn)
    }
    addVerb(this.api, verb, made.fn)
  }

  /** Copies the audit log out, day by day. */
  private archive(context: DeployContext): void {
    const records = recordsBucket(this, 'Records', context.keepDays)
    const { fn, role } = new VerbFunction(this, 'archive', {
      verb: 'archive',
      table: this.table,
      timeout: Duration.minutes(15),
      environment: {
        POSTERN_TABLE: this.table.tableName,
        POSTERN_RECORDS_BUCKET: records.bucketName,
      },
    })
    role.addToPolicy(
      new PolicyStatement({
        actions: ['s3:PutObject'],
        resources: [records.arnForObjects('events/*')],
      }),
    )
    daily(this, 'ArchiveDaily', fn, { hour: '2', minute: '17' })
    posternAlarm(this, 'archive-failed', {
      metric: fn.metricErrors({ period: Duration.hours(1) }),
      above: 0,
      periods: 1,
      topic: this.alarms,
    })
    new CfnOutput(this, 'RecordsBucket', { value: records.bucketName })
  }

  private watch(): void {
    const minutes = Duration.minutes(5)
    posternAlarm(this, 'api-errors', {
      metric: this.api.metricServerError({ period: minutes, statistic: 'sum' }),
      above: 5,
      periods: 2,
      topic: this.alarms,
    })
    posternAlarm(this, 'functions-throttled', {
      metric: LambdaFunction.metricAllThrottles({ period: minutes, statistic: 'sum' }),
      above: 0,
      periods: 2,
      topic: this.alarms,
    })
    posternAlarm(this, 'table-throttled', {
      metric: this.table.metric('WriteThrottleEvents', { period: minutes, statistic: 'sum' }),
      above: 0,
      periods: 2,
      topic: this.alarms,
    })
  }

  private signingKey(id: string, description: string): Key {
    return new Key(this, id, {
      description,
      keySpec: KeySpec.ECC_NIST_P256,
      keyUsage: KeyUsage.SIGN_VERIFY,
      removalPolicy: RemovalPolicy.RETAIN,
    })
  }

  private macKey(id: string): Key {
    return new Key(this, id, {
      description:
        'Postern: secrets that seal challenges, answers and cursors are MACs of this key',
      keySpec: KeySpec.HMAC_256,
      keyUsage: KeyUsage.GENERATE_VERIFY_MAC,
      removalPolicy: RemovalPolicy.RETAIN,
    })
  }
}

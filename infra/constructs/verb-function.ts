/** One verb of the control plane: its own function, its own role, its own keys of the table, at most one signing key. */
import { Duration, RemovalPolicy } from 'aws-cdk-lib'
import type { ITableV2 } from 'aws-cdk-lib/aws-dynamodb'
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import type { IKey } from 'aws-cdk-lib/aws-kms'
import { Architecture, LoggingFormat, Runtime, SystemLogLevel } from 'aws-cdk-lib/aws-lambda'
import { NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs'
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs'
import { Construct } from 'constructs'
import { join } from 'node:path'
import { KEY_ACCESS, type KeyAccess } from '../../functions/store/key-access.ts'
import type { FunctionVerb } from '../routes.ts'
import { ALIASES, BUNDLE, ROOT } from './bundling.ts'
import { grantKeys } from './key-grants.ts'

export interface VerbFunctionProps {
  readonly verb: FunctionVerb
  readonly table: ITableV2
  /** The one key this verb signs with; absent = it signs nothing. */
  readonly signingKey?: IKey
  /** Keys of other verbs whose public halves this one reads. */
  readonly publicKeys?: readonly IKey[]
  /** HMAC key whose MACs are this verb's sealing secrets. */
  readonly sealKey?: IKey
  readonly environment: Record<string, string>
  /** Default: 15 s, longer than any request may take. */
  readonly timeout?: Duration
  /** Key prefixes in place of those in KEY_ACCESS, each within one of them. */
  readonly narrowed?: KeyAccess
}

export class VerbFunction extends Construct {
  readonly fn: NodejsFunction
  readonly role: Role

  constructor(scope: Construct, id: string, props: VerbFunctionProps) {
    super(scope, id)
    const logGroup = new LogGroup(this, 'Log', {
      retention: RetentionDays.THREE_MONTHS,
      removalPolicy: RemovalPolicy.DESTROY,
    })
    this.role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: `Postern ${props.verb}: only what this verb needs`,
    })
    logGroup.grantWrite(this.role)
    grantKeys(this.role, props.narrowed ?? KEY_ACCESS[props.verb], props.table)
    if (props.signingKey)
      this.role.addToPolicy(
        new PolicyStatement({
          actions: ['kms:Sign', 'kms:GetPublicKey'],
          resources: [props.signingKey.keyArn],
        }),
      )
    if (props.publicKeys?.length)
      this.role.addToPolicy(
        new PolicyStatement({
          actions: ['kms:GetPublicKey'],
          resources: props.publicKeys.map((key) => key.keyArn),
        }),
      )
    if (props.sealKey)
      this.role.addToPolicy(
        new PolicyStatement({ actions: ['kms:GenerateMac'], resources: [props.sealKey.keyArn] }),
      )
    this.fn = new NodejsFunction(this, 'Function', {
      entry: join(ROOT, `functions/${props.verb}.lambda.ts`),
      handler: 'handler',
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      memorySize: 512,
      timeout: props.timeout ?? Duration.seconds(15),
      role: this.role,
      logGroup,
      loggingFormat: LoggingFormat.JSON,
      // START, END and REPORT of each call would be most of the log, and are in the metrics.
      systemLogLevelV2: SystemLogLevel.WARN,
      projectRoot: ROOT,
      depsLockFilePath: join(ROOT, 'package-lock.json'),
      environment: props.environment,
      bundling: {
        ...BUNDLE,
        format: OutputFormat.ESM,
        forceDockerBundling: false,
        // The SDK in the bundle starts faster than the one of the runtime, and is the one that was tested.
        externalModules: [],
        esbuildArgs: Object.fromEntries(
          Object.entries(ALIASES).map(([name, file]) => [`--alias:${name}`, file]),
        ),
      },
    })
  }
}

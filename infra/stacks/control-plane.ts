/**
 * The control plane: one table, one signing key per CA, one function and one role per verb, one HTTP API. The proxy's own stack
 * (Fargate behind a load balancer) is not part of this version: docs/deploy.md says what that means.
 */
import { CfnOutput, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib'
import { CfnStage, HttpApi, HttpMethod, HttpNoneAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2'
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers'
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations'
import { Key, KeySpec, KeyUsage } from 'aws-cdk-lib/aws-kms'
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs'
import type { Construct } from 'constructs'
import { acknowledge } from '../acknowledged.ts'
import { posternTable } from '../constructs/table.ts'
import { VerbFunction } from '../constructs/verb-function.ts'
import type { DeployContext } from '../context.ts'
import { guardedByIam, ROUTES, VERBS, type FunctionVerb } from '../routes.ts'

/** Which CA each verb signs with, and how its function is told. What is absent signs nothing. */
const SIGNS = {
  join: { key: 'HostCa', variable: 'POSTERN_HOST_CA_KEY' },
  login: { key: 'UserCa', variable: 'POSTERN_USER_CA_KEY' },
  policy: { key: 'Policy', variable: 'POSTERN_POLICY_KEY' },
} as const
/** Verbs that seal something: challenges, remembered answers, cursors. Each has a secret of its own. */
const SEALS: readonly FunctionVerb[] = ['join', 'api']

export class ControlPlane extends Stack {
  constructor(scope: Construct, id: string, context: DeployContext, props: StackProps = {}) {
    super(scope, id, props)
    const table = posternTable(this, 'Table')
    const api = new HttpApi(this, 'Api', {
      description: `Postern API of ${context.cluster}`,
      createDefaultStage: true,
    })
    this.guardStage(api)

    const keys = new Map(
      Object.entries(SIGNS).map(([verb, { key }]) => [
        verb,
        this.signingKey(`${key}Key`, `Postern ${key} signing key`),
      ]),
    )
    for (const verb of VERBS) {
      const signs = verb in SIGNS ? SIGNS[verb as keyof typeof SIGNS] : undefined
      const signingKey = keys.get(verb)
      // It certifies what the others sign with, so it sees the public halves of all.
      const publicKeys = verb === 'bootstrap' ? [...keys.values()] : []
      const sealKey = SEALS.includes(verb) ? this.sealKey(`${verb}SealKey`) : undefined
      const { fn } = new VerbFunction(this, verb, {
        verb,
        table,
        ...(signingKey && { signingKey }),
        publicKeys,
        ...(sealKey && { sealKey }),
        environment: {
          POSTERN_TABLE: table.tableName,
          POSTERN_ORIGINS: api.apiEndpoint,
          POSTERN_PROXIES: context.proxies.join(','),
          ...(signs && signingKey && { [signs.variable]: signingKey.keyArn }),
          ...(verb === 'bootstrap' && {
            POSTERN_CLUSTER: context.cluster,
            ...Object.fromEntries(
              Object.entries(SIGNS).map(([by, { variable }]) => [
                variable,
                keys.get(by)?.keyArn ?? '',
              ]),
            ),
          }),
          ...(sealKey && { POSTERN_SEAL_KEY: sealKey.keyArn }),
        },
      })
      const integration = new HttpLambdaIntegration(`${verb}Integration`, fn)
      for (const route of ROUTES[verb]) this.route(api, route, integration)
    }
    new CfnOutput(this, 'ApiUrl', { value: api.apiEndpoint })
    new CfnOutput(this, 'Cluster', { value: context.cluster })
    new CfnOutput(this, 'FirstOperator', {
      value: `npx postern bootstrap --stack ${this.stackName} --region ${this.region}`,
      description: 'Run this once, with the credentials that deployed',
    })
    new CfnOutput(this, 'TableName', { value: table.tableName })
    acknowledge(this)
  }

  /** Requests are authenticated by the functions, whose signed requests no gateway knows; those of the deployer by AWS IAM. */
  private route(api: HttpApi, key: string, integration: HttpLambdaIntegration): void {
    const [method = '', path] = key.split(' ')
    const authorizer = guardedByIam(key) ? new HttpIamAuthorizer() : new HttpNoneAuthorizer()
    if (path === undefined) {
      api.addRoutes({ path: '/{proxy+}', integration, authorizer })
      return
    }
    api.addRoutes({
      path,
      methods: [method === 'GET' ? HttpMethod.GET : HttpMethod.POST],
      integration,
      authorizer,
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

  private sealKey(id: string): Key {
    return new Key(this, id, {
      description:
        'Postern: secrets that seal challenges, answers and cursors are MACs of this key',
      keySpec: KeySpec.HMAC_256,
      keyUsage: KeyUsage.GENERATE_VERIFY_MAC,
      removalPolicy: RemovalPolicy.RETAIN,
    })
  }

  /** Throttling and access logs; CDK has no words of its own for either on a default stage. */
  private guardStage(api: HttpApi): void {
    const child = api.defaultStage?.node.defaultChild
    if (!(child instanceof CfnStage)) throw new Error('the API has no default stage')
    const logs = new LogGroup(this, 'AccessLog', {
      retention: RetentionDays.THREE_MONTHS,
      removalPolicy: RemovalPolicy.DESTROY,
    })
    child.accessLogSettings = {
      destinationArn: logs.logGroupArn,
      format: JSON.stringify({
        time: '$context.requestTime',
        ip: '$context.identity.sourceIp',
        route: '$context.routeKey',
        status: '$context.status',
        ms: '$context.responseLatency',
        id: '$context.requestId',
      }),
    }
    child.defaultRouteSettings = { throttlingRateLimit: 200, throttlingBurstLimit: 400 }
  }
}

/** The one public door of the control plane: an HTTP API with throttling, access logs, and a route for each verb. */
import { RemovalPolicy, type Stack } from 'aws-cdk-lib'
import { CfnStage, HttpApi, HttpMethod, HttpNoneAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2'
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers'
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations'
import type { IFunction } from 'aws-cdk-lib/aws-lambda'
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs'
import { guardedByIam, ROUTES, type HttpVerb } from '../routes.ts'

/** Requests each second over all callers, and at once. A fleet that returns is paced by its agents; this stops a flood. */
const THROTTLE = { rate: 200, burst: 400 }

/** Throttling and access logs; CDK has no words of its own for either on a default stage. */
function guardStage(stack: Stack, api: HttpApi): void {
  const child = api.defaultStage?.node.defaultChild
  if (!(child instanceof CfnStage)) throw new Error('the API has no default stage')
  const logs = new LogGroup(stack, 'AccessLog', {
    retention: RetentionDays.THREE_MONTHS,
    removalPolicy: RemovalPolicy.DESTROY,
  })
  child.accessLogSettings = {
    destinationArn: logs.logGroupArn,
    // No header and no query: tokens travel in bodies, and what travels elsewhere is nobody's business either.
    format: JSON.stringify({
      time: '$context.requestTime',
      ip: '$context.identity.sourceIp',
      route: '$context.routeKey',
      status: '$context.status',
      ms: '$context.responseLatency',
      id: '$context.requestId',
    }),
  }
  child.defaultRouteSettings = {
    throttlingRateLimit: THROTTLE.rate,
    throttlingBurstLimit: THROTTLE.burst,
  }
}

export function posternApi(stack: Stack, id: string, cluster: string): HttpApi {
  const api = new HttpApi(stack, id, {
    description: `Postern API of ${cluster}`,
    createDefaultStage: true,
  })
  guardStage(stack, api)
  return api
}

const METHODS: Readonly<Record<string, HttpMethod>> = {
  GET: HttpMethod.GET,
  POST: HttpMethod.POST,
  PUT: HttpMethod.PUT,
  DELETE: HttpMethod.DELETE,
  ANY: HttpMethod.ANY,
}

/** Requests are authenticated by the functions, whose signed requests no gateway knows; those of the deployer by AWS IAM. */
export function addVerb(api: HttpApi, verb: HttpVerb, fn: IFunction): void {
  const integration = new HttpLambdaIntegration(`${verb}Integration`, fn)
  for (const key of ROUTES[verb]) {
    const [word = '', path] = key.split(' ')
    const authorizer = guardedByIam(key) ? new HttpIamAuthorizer() : new HttpNoneAuthorizer()
    if (path === undefined) {
      api.addRoutes({ path: '/{proxy+}', integration, authorizer })
      continue
    }
    const method = METHODS[word]
    if (!method) throw new Error(`infra/routes.ts: ${key} begins with no method`)
    api.addRoutes({ path, methods: [method], integration, authorizer })
  }
}

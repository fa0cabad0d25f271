/**
 * The few read-only calls of AWS that `postern doctor --aws` makes, signed with the deployer's credentials. One small caller and no SDK
 * client for each of twelve services: what is asked is written where it is asked.
 */
import { queryOf, signV4, type AwsCredentials } from '../../core/aws/sigv4.ts'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { exchange } from '../../net/http-exchange.ts'
import type { Cli } from '../cli.ts'

/** Endpoint and signing name of each service, and the variable that names another endpoint, as the SDKs read it. */
const SERVICES = {
  acm: { host: 'acm', variable: 'ACM' },
  dynamodb: { host: 'dynamodb', variable: 'DYNAMODB' },
  ec2: { host: 'ec2', variable: 'EC2' },
  ecs: { host: 'ecs', variable: 'ECS' },
  elasticloadbalancing: { host: 'elasticloadbalancing', variable: 'ELASTIC_LOAD_BALANCING_V2' },
  kms: { host: 'kms', variable: 'KMS' },
  lambda: { host: 'lambda', variable: 'LAMBDA' },
  logs: { host: 'logs', variable: 'CLOUDWATCH_LOGS' },
  monitoring: { host: 'monitoring', variable: 'CLOUDWATCH' },
  s3: { host: 's3', variable: 'S3' },
  scheduler: { host: 'scheduler', variable: 'SCHEDULER' },
} as const
export type AwsService = keyof typeof SERVICES

/** SHA-256 of nothing, which S3 wants to be told of. */
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

export type Json = Readonly<Record<string, unknown>>

/** AWS refused or did not answer. The message names the service and what it said; nothing secret is in it. */
export class AwsRefusal extends Error {
  readonly code: string
  readonly action: string
  constructor(action: string, code: string, message: string) {
    super(`${action}: ${code}${message === '' ? '' : `: ${message}`}`)
    this.code = code
    this.action = action
  }
}

export interface AwsApi {
  readonly region: string
  /** AWS JSON 1.0 or 1.1: `target` is the prefix and the operation, as `AmazonEC2ContainerServiceV20141113.DescribeServices`. */
  json(service: AwsService, target: string, input: Json): Promise<Json>
  /** REST with a JSON answer. `action` is the IAM action, for refusals. */
  get(service: AwsService, path: string, action: string): Promise<Json>
  /** What S3 says of a bucket, as `object-lock`; XML as text. `action` is the IAM action. */
  bucket(name: string, subresource: string, action: string): Promise<string>
  /** The Query protocol; the answer is XML as text. */
  query(service: AwsService, input: Readonly<Record<string, string>>): Promise<string>
}

const textIn = (said: Json, ...names: readonly string[]): string =>
  names.map((name) => said[name]).find((value) => typeof value === 'string') ?? ''
const codeIn = (text: string): { code: string; message: string } => {
  try {
    const said = JSON.parse(text) as Json
    const code = textIn(said, '__type', 'Code', 'code').split('#').at(-1) ?? ''
    return { code: code || 'Refused', message: textIn(said, 'message', 'Message') }
  } catch {
    return {
      code: /<Code>([^<]{1,128})<\/Code>/.exec(text)?.[1] ?? 'Refused',
      message: /<Message>([^<]{1,1024})<\/Message>/.exec(text)?.[1] ?? '',
    }
  }
}

export function awsApi(
  cli: Pick<Cli, 'clock' | 'env'>,
  region: string,
  credentials: () => Promise<AwsCredentials>,
): AwsApi {
  const { all } = cli.env
  const originOf = (service: AwsService): string => {
    const { host, variable } = SERVICES[service]
    const given = all[`AWS_ENDPOINT_URL_${variable}`] ?? all['AWS_ENDPOINT_URL']
    return given ?? `https://${host}.${region}.amazonaws.com`
  }

  async function call(
    service: AwsService,
    action: string,
    request: {
      readonly method: 'GET' | 'POST'
      readonly path: string
      readonly query?: Readonly<Record<string, string>>
      readonly headers: Readonly<Record<string, string>>
      readonly body: string
    },
  ): Promise<string> {
    const url = new URL(request.path, originOf(service))
    if (request.query) url.search = queryOf(request.query)
    const headers = signV4(
      { ...request, host: url.host, path: url.pathname },
      { region, service },
      await credentials(),
      cli.clock.now(),
    )
    const answer = await exchange({
      method: request.method,
      url,
      tls: { minVersion: 'TLSv1.2', rejectUnauthorized: true },
      headers,
      ...(request.method === 'GET' ? {} : { body: request.body }),
      timeout: LIMITS.httpTimeout.value,
      maxBytes: LIMITS.httpResponse.value,
      clock: cli.clock,
      proxy: cli.env.httpsProxy,
    }).catch((cause: unknown) => {
      throw new AppError('ERR_UNREACHABLE', `${service} in ${region} is not reached`, { cause })
    })
    const text = answer.body.toString('utf8')
    if (answer.status < 300) return text
    const { code, message } = codeIn(text)
    throw new AwsRefusal(action, code, message)
  }

  return {
    region,
    async json(service, target, input) {
      const text = await call(service, `${service}:${target.split('.').at(-1) ?? ''}`, {
        method: 'POST',
        path: '/',
        headers: {
          'content-type': `application/x-amz-json-${service === 'dynamodb' ? '1.0' : '1.1'}`,
          'x-amz-target': target,
        },
        body: JSON.stringify(input),
      })
      return JSON.parse(text) as Json
    },
    async get(service, path, action) {
      const headers = { accept: 'application/json' }
      return JSON.parse(
        await call(service, action, { method: 'GET', path, headers, body: '' }),
      ) as Json
    },
    bucket: (name, subresource, action) =>
      call('s3', action, {
        method: 'GET',
        path: `/${name}`,
        query: { [subresource]: '' },
        headers: { 'x-amz-content-sha256': EMPTY },
        body: '',
      }),
    query: (service, input) =>
      call(service, `${service}:${input['Action'] ?? ''}`, {
        method: 'POST',
        path: '/',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: queryOf(input),
      }),
  }
}

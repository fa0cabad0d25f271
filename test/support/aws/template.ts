/**
 * Reads a synthesised stack as CloudFormation would deploy it: intrinsic functions resolved, each function with its code, its
 * environment and the policies of its role.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createHash } from 'node:crypto'
import type { Statement } from './iam.ts'

export const ACCOUNT = '123456789012'
export const REGION = 'eu-west-1'

interface Resource {
  readonly Type: string
  readonly Properties?: Readonly<Record<string, unknown>>
}
export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>
  readonly Outputs?: Readonly<Record<string, { readonly Value: unknown }>>
}
export interface DeployedFunction {
  /** Logical id. */
  readonly id: string
  readonly name: string
  readonly arn: string
  /** Directory with index.mjs, as it is uploaded. */
  readonly code: string
  readonly handler: string
  readonly timeoutMs: number
  readonly environment: Readonly<Record<string, string>>
  readonly policies: readonly Statement[]
}
export interface DeployedRoute {
  /** `POST /v1/join`, `ANY /{proxy+}`. */
  readonly key: string
  readonly functionArn: string
  readonly iam: boolean
}
export interface DeployedKey {
  readonly id: string
  readonly arn: string
  readonly spec: string
  /** Whether the key's own policy lets IAM policies of the account decide. */
  readonly delegatesToIam: boolean
}
export interface Deployed {
  readonly stackName: string
  readonly functions: readonly DeployedFunction[]
  readonly routes: readonly DeployedRoute[]
  readonly keys: readonly DeployedKey[]
  readonly table: { readonly name: string; readonly arn: string }
  readonly throttle: { readonly rate: number; readonly burst: number }
  readonly outputs: Readonly<Record<string, string>>
}

const uuid = (text: string): string =>
  createHash('sha256')
    .update(text)
    .digest('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5')

/** `apiUrl` stands where the deployed API has its own address. */
export function readDeployed(outdir: string, stackName: string, apiUrl: string): Deployed {
  const template = JSON.parse(
    readFileSync(join(outdir, `${stackName}.template.json`), 'utf8'),
  ) as Template
  const assets = JSON.parse(readFileSync(join(outdir, `${stackName}.assets.json`), 'utf8')) as {
    files: Record<string, { source: { path: string } }>
  }
  const of = (type: string): [string, Resource][] =>
    Object.entries(template.Resources).filter(([, r]) => r.Type === type)

  const arn = (service: string, rest: string) => `arn:aws:${service}:${REGION}:${ACCOUNT}:${rest}`
  const physical = (id: string): { ref: string; arn: string } => {
    const type = template.Resources[id]?.Type
    switch (type) {
      case 'AWS::DynamoDB::GlobalTable':
      case 'AWS::DynamoDB::Table':
        return { ref: `${stackName}-${id}`, arn: arn('dynamodb', `table/${stackName}-${id}`) }
      case 'AWS::KMS::Key':
        return { ref: uuid(id), arn: arn('kms', `key/${uuid(id)}`) }
      case 'AWS::Lambda::Function':
        return { ref: `${stackName}-${id}`, arn: arn('lambda', `function:${stackName}-${id}`) }
      case 'AWS::IAM::Role':
        return { ref: `${stackName}-${id}`, arn: `arn:aws:iam::${ACCOUNT}:role/${stackName}-${id}` }
      case 'AWS::Logs::LogGroup':
        return { ref: `/aws/${id}`, arn: arn('logs', `log-group:/aws/${id}:*`) }
      default:
        return { ref: id.toLowerCase(), arn: arn(type?.split('::')[1]?.toLowerCase() ?? 'x', id) }
    }
  }
  const PSEUDO: Readonly<Record<string, string>> = {
    'AWS::AccountId': ACCOUNT,
    'AWS::Region': REGION,
    'AWS::Partition': 'aws',
    'AWS::URLSuffix': 'amazonaws.com',
    'AWS::StackName': stackName,
    'AWS::StackId': arn('cloudformation', `stack/${stackName}/1`),
  }
  const ref = (name: string): string => PSEUDO[name] ?? physical(name).ref
  function attribute(id: string, name: string): string {
    if (name === 'ApiEndpoint') return apiUrl
    if (name === 'Arn') return physical(id).arn
    return `${id}.${name}`
  }

  function resolve(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(resolve)
    if (typeof value !== 'object' || value === null) return value
    const entries = Object.entries(value)
    const [[name, given] = ['', undefined]] = entries
    if (entries.length === 1 && (name === 'Ref' || name.startsWith('Fn::')))
      return intrinsic(name, given)
    return Object.fromEntries(entries.map(([key, inner]) => [key, resolve(inner)]))
  }
  function intrinsic(name: string, given: unknown): unknown {
    switch (name) {
      case 'Ref':
        return ref(String(given))
      case 'Fn::GetAtt': {
        const [id = '', attr = ''] =
          typeof given === 'string' ? given.split('.') : (given as string[])
        return attribute(id, attr)
      }
      case 'Fn::Join': {
        const [by, parts] = given as [string, unknown[]]
        return (resolve(parts) as string[]).join(by)
      }
      case 'Fn::Select': {
        const [at, parts] = given as [string | number, unknown]
        return (resolve(parts) as string[])[Number(at)]
      }
      case 'Fn::Split': {
        const [by, text] = given as [string, unknown]
        return String(resolve(text)).split(by)
      }
      case 'Fn::Sub': {
        const [text, values] = typeof given === 'string' ? [given, {}] : (given as [string, object])
        const named = resolve(values) as Record<string, string>
        return text.replaceAll(/\$\{([^!}]+)\}/g, (_all, key: string) => {
          if (named[key] !== undefined) return named[key]
          const [id = '', attr] = key.split('.')
          return attr === undefined ? ref(id) : attribute(id, attr)
        })
      }
      default:
        throw new Error(`intrinsic function ${name} is not known here`)
    }
  }
  const properties = (r: Resource): Record<string, unknown> =>
    resolve(r.Properties ?? {}) as Record<string, unknown>

  const apis = of('AWS::ApiGatewayV2::Api').map(([id]) => physical(id).ref)
  /** A text in which the API's own host was composed of its parts. */
  const local = (value: string): string =>
    apis.reduce(
      (at, id) => at.replaceAll(`https://${id}.execute-api.${REGION}.amazonaws.com`, apiUrl),
      value,
    )

  const policies = of('AWS::IAM::Policy').map(([, r]) => properties(r)) as unknown as {
    PolicyDocument: { Statement: Statement[] }
    Roles: string[]
  }[]
  const functions = of('AWS::Lambda::Function').flatMap(([id, r]) => {
    const p = properties(r) as {
      Code: { S3Key?: string }
      Handler: string
      Role: string
      Timeout: number
      Environment?: { Variables?: Record<string, string> }
    }
    const hash = /([0-9a-f]{32,})\.zip$/.exec(p.Code.S3Key ?? '')?.[1]
    const asset = hash === undefined ? undefined : assets.files[hash]
    const environment = p.Environment?.Variables ?? {}
    if (!asset || environment['POSTERN_TABLE'] === undefined) return []
    const role = p.Role.split('/').at(-1) ?? ''
    return [
      {
        id,
        name: physical(id).ref,
        arn: physical(id).arn,
        code: join(outdir, asset.source.path),
        handler: p.Handler,
        timeoutMs: p.Timeout * 1000,
        environment: Object.fromEntries(
          Object.entries(environment).map(([name, value]) => [name, local(value)]),
        ),
        policies: policies
          .filter((policy) => policy.Roles.includes(role))
          .flatMap((policy) => policy.PolicyDocument.Statement),
      },
    ]
  })

  const integrations = new Map(
    of('AWS::ApiGatewayV2::Integration').map(([id, r]) => [id, properties(r)]),
  )
  const routes = of('AWS::ApiGatewayV2::Route').map(([, r]): DeployedRoute => {
    const target = JSON.stringify((r.Properties ?? {})['Target'])
    const [, integration] = [...integrations].find(([id]) => target.includes(`"Ref":"${id}"`)) ?? []
    const p = properties(r)
    const uri = String(integration?.['IntegrationUri'])
    return {
      key: String(p['RouteKey']),
      functionArn: /(arn:aws:lambda:[^/]+)(\/invocations)?$/.exec(uri)?.[1] ?? uri,
      iam: p['AuthorizationType'] === 'AWS_IAM',
    }
  })
  const keys = of('AWS::KMS::Key').map(([id, r]): DeployedKey => {
    const p = properties(r) as {
      KeySpec?: string
      KeyPolicy: { Statement: { Effect: string; Action: string; Principal: { AWS?: string } }[] }
    }
    return {
      id,
      arn: physical(id).arn,
      spec: p.KeySpec ?? 'SYMMETRIC_DEFAULT',
      delegatesToIam: p.KeyPolicy.Statement.some(
        (s) =>
          s.Effect === 'Allow' &&
          s.Action === 'kms:*' &&
          s.Principal.AWS === `arn:aws:iam::${ACCOUNT}:root`,
      ),
    }
  })
  const [tableId = ''] = of('AWS::DynamoDB::GlobalTable')[0] ?? []
  const stage = of('AWS::ApiGatewayV2::Stage')[0]?.[1]
  const settings = (stage ? properties(stage)['DefaultRouteSettings'] : {}) as {
    ThrottlingRateLimit?: number
    ThrottlingBurstLimit?: number
  }
  return {
    stackName,
    functions,
    routes,
    keys,
    table: { name: physical(tableId).ref, arn: physical(tableId).arn },
    throttle: {
      rate: settings.ThrottlingRateLimit ?? 10_000,
      burst: settings.ThrottlingBurstLimit ?? 5_000,
    },
    outputs: Object.fromEntries(
      Object.entries(template.Outputs ?? {}).map(([name, { Value }]) => [
        name,
        local(String(resolve(Value))),
      ]),
    ),
  }
}

/**
 * An AWS account with deployed stacks, as far as somebody who may read it sees: one loopback endpoint for twelve services, each request's
 * signature verified for its own service, what it asks for checked against what is deployed. Its state is what a deployment of the
 * templates leaves behind, to be changed by a test.
 */
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Template } from 'aws-cdk-lib/assertions'
import { verifySigV4, type KeyHolder } from '../support/aws/sigv4.ts'

type Json = Record<string, unknown>
export interface AccountStack {
  readonly name: string
  status: string
  readonly outputs: Record<string, string>
  readonly resources: { readonly type: string; readonly logicalId: string; readonly id: string }[]
}
export interface FakeAccount {
  readonly url: string
  /** Every call as `service:Operation`. */
  readonly calls: string[]
  /** IAM actions that the caller lacks. */
  readonly denied: Set<string>
  readonly stacks: AccountStack[]
  /** Answers by what they are about; a test changes or removes them. */
  readonly table: {
    status: string
    guard: boolean
    pitr: boolean
    ttl: boolean
    cluster: Json | undefined
    /** Epoch seconds. */
    leases: number[]
  }
  readonly keys: Map<string, { state: string; usage: string; policy: Json; grants: Json[] }>
  readonly functions: Map<string, Json>
  readonly service: { running: number; desired: number; rollout: string; event: string }
  targets: { state: string; description: string }[]
  certificate: string
  readonly alarms: Map<string, { state: string; description: string }>
  readonly logs: Map<string, number | undefined>
  readonly schedules: Map<string, string>
  /** undefined: S3 says that there is no such configuration. */
  readonly buckets: Map<
    string,
    { shut: boolean | undefined; encrypted: boolean; lock: number | undefined }
  >
  /** Public address of the task that runs; undefined: none does. */
  task: string | undefined
  /** Days until the certificate ends. */
  certificateDays: number
  close(): Promise<void>
}

const ACCOUNT = '123456789012'
const REGION = 'eu-west-1'
const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

function physicalOf(type: string, logicalId: string, stack: string): string {
  const arn = (service: string, rest: string) => `arn:aws:${service}:${REGION}:${ACCOUNT}:${rest}`
  switch (type) {
    case 'AWS::ECS::Service':
      return arn('ecs', `service/${stack}-Cluster/${stack}-${logicalId}`)
    case 'AWS::ElasticLoadBalancingV2::TargetGroup':
      return arn('elasticloadbalancing', `targetgroup/${stack}-${logicalId}/0123456789abcdef`)
    case 'AWS::CertificateManager::Certificate':
      return arn('acm', `certificate/${logicalId.toLowerCase()}`)
    case 'AWS::Logs::LogGroup':
      return `/aws/${stack}/${logicalId}`
    default:
      return `${stack}-${logicalId}`
  }
}

export function stackOf(
  name: string,
  template: Template,
  outputs: Record<string, string>,
): AccountStack {
  const { Resources } = template.toJSON() as { Resources: Record<string, { Type: string }> }
  return {
    name,
    status: 'CREATE_COMPLETE',
    outputs,
    resources: Object.entries(Resources).map(([logicalId, { Type: type }]) => ({
      type,
      logicalId,
      id: physicalOf(type, logicalId, name),
    })),
  }
}

class Refused extends Error {
  readonly code: string
  constructor(code: string, message = code) {
    super(message)
    this.code = code
  }
}

const TARGETS: Readonly<Record<string, string>> = {
  DynamoDB_20120810: 'dynamodb',
  TrentService: 'kms',
  AmazonEC2ContainerServiceV20141113: 'ecs',
  Logs_20140328: 'logs',
  CertificateManager: 'acm',
}
const VERSIONS: Readonly<Record<string, string>> = {
  '2010-05-15': 'cloudformation',
  '2015-12-01': 'elasticloadbalancing',
  '2010-08-01': 'monitoring',
  '2016-11-15': 'ec2',
}

export async function fakeAccount(options: {
  readonly stacks: AccountStack[]
  readonly table: string
  readonly cluster: string
  readonly callers: ReadonlyMap<string, KeyHolder>
}): Promise<FakeAccount> {
  const { stacks, table: tableName } = options
  const of = (type: string) => stacks.flatMap((s) => s.resources).filter((r) => r.type === type)
  const calls: string[] = []
  const denied = new Set<string>()
  const root = {
    Statement: [
      {
        Effect: 'Allow',
        Action: 'kms:*',
        Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` },
        Resource: '*',
      },
    ],
  }
  const keys: FakeAccount['keys'] = new Map(
    of('AWS::KMS::Key').map(({ id, logicalId }) => [
      id,
      {
        state: 'Enabled',
        usage: logicalId.startsWith('Seal') ? 'GENERATE_VERIFY_MAC' : 'SIGN_VERIFY',
        policy: root,
        grants: [],
      },
    ]),
  )
  const keyArn = (id: string) => `arn:aws:kms:${REGION}:${ACCOUNT}:key/${id}`
  const [someKey = ''] = keys.keys()
  const functions: FakeAccount['functions'] = new Map(
    of('AWS::Lambda::Function').map(({ id }) => [
      id,
      {
        FunctionName: id,
        State: 'Active',
        LastUpdateStatus: 'Successful',
        Runtime: 'nodejs24.x',
        LastModified: '2026-11-26T10:00:00.000+0000',
        Environment: {
          Variables: { POSTERN_TABLE: tableName, POSTERN_SEAL_KEY: keyArn(someKey) },
        },
      },
    ]),
  )
  const state: Omit<FakeAccount, 'url' | 'close'> = {
    calls,
    denied,
    stacks,
    table: {
      status: 'ACTIVE',
      guard: true,
      pitr: true,
      ttl: true,
      cluster: { name: { S: options.cluster }, v: { N: '1' } },
      leases: [Date.now() / 1000 + 18],
    },
    keys,
    functions,
    service: { running: 2, desired: 2, rollout: 'COMPLETED', event: 'has reached a steady state.' },
    targets: [
      { state: 'healthy', description: '' },
      { state: 'healthy', description: '' },
    ],
    certificate: 'ISSUED',
    alarms: new Map(
      of('AWS::CloudWatch::Alarm').map(({ id }) => [
        id,
        { state: 'OK', description: `What to do: docs/runbook.md#${id}` },
      ]),
    ),
    logs: new Map(of('AWS::Logs::LogGroup').map(({ id }) => [id, 90])),
    schedules: new Map(of('AWS::Scheduler::Schedule').map(({ id }) => [id, 'ENABLED'])),
    buckets: new Map(
      of('AWS::S3::Bucket').map(({ id, logicalId }) => [
        id,
        { shut: true, encrypted: true, lock: logicalId.includes('AccessLog') ? undefined : 365 },
      ]),
    ),
    task: '127.0.0.1',
    certificateDays: 300,
  }

  const need = <T>(value: T | undefined, code = 'ResourceNotFoundException'): T => {
    if (value === undefined) throw new Refused(code)
    return value
  }

  function dynamodb(operation: string, input: Json): Json {
    const { table } = state
    if (input['TableName'] !== tableName) throw new Refused('ResourceNotFoundException')
    switch (operation) {
      case 'DescribeTable':
        return {
          Table: {
            TableStatus: table.status,
            ItemCount: 42,
            DeletionProtectionEnabled: table.guard,
            GlobalSecondaryIndexes: [{ IndexName: 'gsi1', IndexStatus: 'ACTIVE' }],
          },
        }
      case 'DescribeContinuousBackups':
        return {
          ContinuousBackupsDescription: {
            PointInTimeRecoveryDescription: {
              PointInTimeRecoveryStatus: table.pitr ? 'ENABLED' : 'DISABLED',
            },
          },
        }
      case 'DescribeTimeToLive':
        return {
          TimeToLiveDescription: table.ttl
            ? { TimeToLiveStatus: 'ENABLED', AttributeName: 'ttl' }
            : { TimeToLiveStatus: 'DISABLED' },
        }
      case 'GetItem':
        if (JSON.stringify(input['Key']) !== '{"pk":{"S":"CLUSTER"},"sk":{"S":"CLUSTER"}}')
          throw new Refused('ValidationException', 'another key than the cluster’s')
        return table.cluster ? { Item: table.cluster } : {}
      case 'Query': {
        const values = JSON.stringify(input['ExpressionAttributeValues'])
        if (!values.includes('"LEASE"')) throw new Refused('ValidationException')
        return { Items: table.leases.map((at) => ({ expires: { N: String(Math.round(at)) } })) }
      }
      default:
        throw new Refused('UnknownOperationException')
    }
  }
  function kms(operation: string, input: Json): Json {
    const id = String(input['KeyId'])
    const key = need(keys.get(id), 'NotFoundException')
    switch (operation) {
      case 'DescribeKey':
        return {
          KeyMetadata: {
            Arn: keyArn(id),
            KeyState: key.state,
            KeyUsage: key.usage,
            KeySpec: 'ECC_NIST_P256',
          },
        }
      case 'GetKeyPolicy':
        return { Policy: JSON.stringify(key.policy) }
      case 'ListGrants':
        return { Grants: key.grants }
      default:
        throw new Refused('UnknownOperationException')
    }
  }
  function json(service: string, operation: string, input: Json): Json {
    if (service === 'dynamodb') return dynamodb(operation, input)
    if (service === 'kms') return kms(operation, input)
    if (service === 'ecs' && operation === 'ListTasks') {
      const { cluster, serviceName } = input
      need(
        of('AWS::ECS::Service').find(({ id }) =>
          id.endsWith(`/${String(cluster)}/${String(serviceName)}`),
        ),
      )
      return { taskArns: state.task === undefined ? [] : ['arn:task'] }
    }
    if (service === 'ecs' && operation === 'DescribeTasks') {
      if (String(input['tasks']) !== 'arn:task') throw new Refused('ClientException')
      const details = [
        { name: 'subnetId', value: 'subnet-1' },
        { name: 'networkInterfaceId', value: 'eni-1' },
      ]
      return { tasks: [{ attachments: [{ type: 'ElasticNetworkInterface', details }] }] }
    }
    if (service === 'ecs' && operation === 'DescribeServices') {
      const [arn] = input['services'] as string[]
      if (
        !of('AWS::ECS::Service').some(
          ({ id }) => id === arn && id.includes(`/${String(input['cluster'])}/`),
        )
      )
        throw new Refused('ServiceNotFoundException')
      const { running, desired, rollout, event } = state.service
      return {
        services: [
          {
            runningCount: running,
            desiredCount: desired,
            deployments: [{ rolloutState: rollout }],
            events: [{ message: event }],
          },
        ],
      }
    }
    if (service === 'acm' && operation === 'DescribeCertificate') {
      const arn = input['CertificateArn']
      need(of('AWS::CertificateManager::Certificate').find(({ id }) => id === arn))
      return {
        Certificate: {
          Status: state.certificate,
          DomainName: 'access.example.com',
          NotAfter: Date.now() / 1000 + state.certificateDays * 86_400,
        },
      }
    }
    if (service === 'logs' && operation === 'DescribeLogGroups') {
      const prefix = String(input['logGroupNamePrefix'])
      const found = [...state.logs].filter(([name]) => name.startsWith(prefix))
      return {
        logGroups: found.map(([logGroupName, retentionInDays]) => ({
          logGroupName,
          ...(retentionInDays !== undefined && { retentionInDays }),
        })),
      }
    }
    throw new Refused('UnknownOperationException')
  }
  function query(service: string, form: URLSearchParams): string {
    const action = form.get('Action') ?? ''
    if (service === 'elasticloadbalancing' && action === 'DescribeTargetHealth') {
      const arn = form.get('TargetGroupArn')
      need(of('AWS::ElasticLoadBalancingV2::TargetGroup').find(({ id }) => id === arn))
      return `<DescribeTargetHealthResponse>${state.targets
        .map(
          (t) =>
            `<member><TargetHealth><State>${t.state}</State><Description>${escape(t.description)}</Description></TargetHealth></member>`,
        )
        .join('')}</DescribeTargetHealthResponse>`
    }
    if (service === 'ec2' && action === 'DescribeNetworkInterfaces') {
      if (form.get('NetworkInterfaceId.1') !== 'eni-1')
        throw new Refused('InvalidNetworkInterfaceID')
      return `<DescribeNetworkInterfacesResponse><networkInterfaceSet><item><association><publicIp>${state.task}</publicIp></association></item></networkInterfaceSet></DescribeNetworkInterfacesResponse>`
    }
    if (service === 'monitoring' && action === 'DescribeAlarms') {
      const names = [...form].filter(([n]) => n.startsWith('AlarmNames.member.')).map(([, v]) => v)
      const found = names.flatMap((name) => {
        const alarm = state.alarms.get(name)
        return alarm
          ? `<member><AlarmName>${name}</AlarmName><AlarmDescription>${escape(alarm.description)}</AlarmDescription><StateValue>${alarm.state}</StateValue></member>`
          : []
      })
      return `<DescribeAlarmsResponse><MetricAlarms>${found.join('')}</MetricAlarms></DescribeAlarmsResponse>`
    }
    if (service === 'cloudformation') {
      const stack = stacks.find(({ name }) => name === form.get('StackName'))
      if (!stack)
        throw new Refused(
          'ValidationError',
          `Stack with id ${form.get('StackName')} does not exist`,
        )
      if (action === 'DescribeStacks')
        return `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>${stack.name}</StackName><StackStatus>${stack.status}</StackStatus><CreationTime>2026-11-26T00:00:00Z</CreationTime><Outputs>${Object.entries(
          stack.outputs,
        )
          .map(
            ([k, v]) =>
              `<member><OutputKey>${k}</OutputKey><OutputValue>${escape(v)}</OutputValue></member>`,
          )
          .join('')}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`
      // As AWS does: a page at a time.
      const from = Number(form.get('NextToken') ?? 0)
      const next = from + 100 < stack.resources.length ? `<NextToken>${from + 100}</NextToken>` : ''
      return `<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries>${stack.resources
        .slice(from, from + 100)
        .map(
          (r) =>
            `<member><ResourceType>${r.type}</ResourceType><LogicalResourceId>${r.logicalId}</LogicalResourceId><PhysicalResourceId>${escape(r.id)}</PhysicalResourceId></member>`,
        )
        .join(
          '',
        )}</StackResourceSummaries>${next}</ListStackResourcesResult></ListStackResourcesResponse>`
    }
    throw new Refused('InvalidAction')
  }

  /** The IAM action that S3 asks for, by what is asked. */
  const S3_ACTIONS: Readonly<Record<string, string>> = {
    publicAccessBlock: 'GetBucketPublicAccessBlock',
    encryption: 'GetEncryptionConfiguration',
    'object-lock': 'GetBucketObjectLockConfiguration',
  }
  function s3(name: string, subresource: string): string {
    const bucket = need(state.buckets.get(name), 'NoSuchBucket')
    switch (subresource) {
      case 'publicAccessBlock': {
        if (bucket.shut === undefined) throw new Refused('NoSuchPublicAccessBlockConfiguration')
        const all = [
          'BlockPublicAcls',
          'IgnorePublicAcls',
          'BlockPublicPolicy',
          'RestrictPublicBuckets',
        ]
        return all.map((rule) => `<${rule}>${bucket.shut}</${rule}>`).join('')
      }
      case 'encryption':
        if (!bucket.encrypted) throw new Refused('ServerSideEncryptionConfigurationNotFoundError')
        return '<Rule><SSEAlgorithm>AES256</SSEAlgorithm></Rule>'
      default:
        if (bucket.lock === undefined) throw new Refused('ObjectLockConfigurationNotFoundError')
        return `<ObjectLockEnabled>Enabled</ObjectLockEnabled><Mode>GOVERNANCE</Mode><Days>${bucket.lock}</Days>`
    }
  }

  function answer(request: IncomingMessage, body: Buffer): { type: string; text: string } {
    const [prefix = '', target = ''] = String(request.headers['x-amz-target'] ?? '').split('.')
    const form = new URLSearchParams(body.toString('utf8'))
    const rest = /^\/2015-03-31\/functions\/([^/]+)\/configuration$/.exec(request.url ?? '')
    const schedule = /^\/schedules\/([^/?]+)$/.exec(request.url ?? '')
    const bucket = /^\/([^/?]+)\?([a-zA-Z-]+)=$/.exec(request.url ?? '')
    const service = rest
      ? 'lambda'
      : schedule
        ? 'scheduler'
        : bucket
          ? 's3'
          : (TARGETS[prefix] ?? VERSIONS[form.get('Version') ?? ''] ?? 'unknown')
    const operation = rest
      ? 'GetFunctionConfiguration'
      : schedule
        ? 'GetSchedule'
        : bucket
          ? (S3_ACTIONS[bucket[2] ?? ''] ?? 'Unknown')
          : target || (form.get('Action') ?? '')
    const signed = verifySigV4(request, body, options.callers, service)
    if (!signed.ok) throw new Refused(signed.code)
    calls.push(`${service}:${operation}`)
    if (denied.has(`${service}:${operation}`))
      throw new Refused('AccessDeniedException', `not authorized to perform: ${operation}`)
    if (rest)
      return {
        type: 'application/json',
        text: JSON.stringify(need(functions.get(decodeURIComponent(rest[1] ?? '')))),
      }
    if (schedule) {
      const State = need(state.schedules.get(decodeURIComponent(schedule[1] ?? '')))
      const text = JSON.stringify({ State, ScheduleExpression: 'rate(1 hour)' })
      return { type: 'application/json', text }
    }
    if (bucket) return { type: 'application/xml', text: s3(bucket[1] ?? '', bucket[2] ?? '') }
    if (TARGETS[prefix] !== undefined)
      return {
        type: 'application/x-amz-json-1.1',
        text: JSON.stringify(json(service, operation, JSON.parse(body.toString('utf8')) as Json)),
      }
    return { type: 'text/xml', text: query(service, form) }
  }

  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      try {
        const { type, text } = answer(request, Buffer.concat(parts))
        response.writeHead(200, { 'content-type': type }).end(text)
      } catch (e) {
        const { code, message } =
          e instanceof Refused ? e : new Refused('InternalFailure', String(e))
        const inJson =
          request.headers['x-amz-target'] !== undefined ||
          (request.method === 'GET' && !(request.url ?? '').includes('?'))
        response
          .writeHead(400, { 'content-type': inJson ? 'application/x-amz-json-1.1' : 'text/xml' })
          .end(
            inJson
              ? JSON.stringify({ __type: code, message })
              : `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${escape(message)}</Message></Error></ErrorResponse>`,
          )
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(state, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  })
}

/**
 * One loopback endpoint that plays DynamoDB and KMS for the functions: it verifies each request's AWS signature, knows by the key whose
 * role it came from, and refuses what the policies of that role in the template do not allow, as IAM would. Everything is recorded.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DynamoException } from '../../../functions/store/embedded/exceptions.ts'
import { dynamoRequests } from './dynamodb-iam.ts'
import { evaluate, type IamRequest, type Statement } from './iam.ts'
import { KmsError, type FakeKms } from './kms.ts'
import { verifySigV4, type KeyHolder } from './sigv4.ts'

type Json = Readonly<Record<string, unknown>>
/** A role's session, as the runtime puts it into a function's environment. */
export interface RoleSession extends KeyHolder {
  /** Name of the function, or of whatever else runs under the role. */
  readonly who: string
  readonly policies: readonly Statement[]
}
export interface AwsCall {
  readonly who: string
  readonly service: 'dynamodb' | 'kms'
  readonly operation: string
  readonly input: Json
  readonly requests: readonly IamRequest[]
  /** IAM requests that the policies do not allow. */
  readonly refused: readonly string[]
}
export interface AwsEndpoint {
  readonly url: string
  readonly sessions: Map<string, RoleSession>
  readonly calls: AwsCall[]
  /** Codes of requests whose signature was not accepted. */
  readonly unsigned: string[]
  /** While true, every request fails as in an outage. */
  down: boolean
  close(): Promise<void>
}

export interface AwsBackends {
  readonly dynamodb: (operation: string, input: Json) => Promise<Json>
  readonly kms: FakeKms
  readonly tableArn: (name: string) => string
}

const BODY_MAX = 16 * 1024 * 1024
const SERVICES = { DynamoDB_20120810: 'dynamodb', TrentService: 'kms' } as const

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length
    if (size > BODY_MAX) throw new Error('the request is too large')
    parts.push(part)
  }
  return Buffer.concat(parts)
}

export async function awsEndpoint(backends: AwsBackends): Promise<AwsEndpoint> {
  const sessions = new Map<string, RoleSession>()
  const calls: AwsCall[] = []
  const unsigned: string[] = []
  const state = { down: false }

  async function answer(request: IncomingMessage): Promise<{ status: number; body: Json }> {
    const fail = (status: number, type: string, message = type) => ({
      status,
      body: { __type: `com.amazonaws#${type}`, message },
    })
    const body = await bodyOf(request)
    if (state.down) return fail(503, 'ServiceUnavailable')
    const [prefix = '', operation = ''] = String(request.headers['x-amz-target']).split('.')
    const service = SERVICES[prefix as keyof typeof SERVICES]
    if (service === undefined) return fail(400, 'UnknownOperationException')
    const signed = verifySigV4(request, body, sessions, service)
    if (!signed.ok) {
      unsigned.push(signed.code)
      return fail(400, signed.code)
    }
    const { who, policies } = signed.holder
    const input = JSON.parse(body.toString('utf8')) as Json
    const kms = service === 'kms' ? backends.kms.request(operation, input) : undefined
    if (service === 'kms' && !kms) return fail(400, 'NotFoundException')
    const requests = kms ? [kms] : dynamoRequests(operation, input, backends.tableArn)
    const refused = requests
      .map((r) => ({ r, verdict: evaluate(policies, r) }))
      .filter(({ verdict }) => verdict !== 'allowed')
      .map(
        ({ r, verdict }) =>
          `${who}: ${r.action} ${(r.context['dynamodb:LeadingKeys'] ?? []).join(' ')} ${verdict}`,
      )
    calls.push({ who, service, operation, input, requests, refused })
    if (refused.length > 0) return fail(400, 'AccessDeniedException', refused.join('; '))
    try {
      const result =
        service === 'kms'
          ? backends.kms.run(operation, input)
          : await backends.dynamodb(operation, input)
      return { status: 200, body: result }
    } catch (e) {
      if (e instanceof KmsError) return fail(400, e.type, e.message)
      if (e instanceof DynamoException) return { status: e.statusCode, body: e.body }
      throw e
    }
  }

  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    answer(request).then(
      ({ status, body }) => {
        response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' })
        response.end(JSON.stringify(body))
      },
      (e: unknown) => {
        response
          .writeHead(500)
          .end(JSON.stringify({ __type: 'InternalFailure', message: String(e) }))
      },
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sessions,
    calls,
    unsigned,
    get down() {
      return state.down
    },
    set down(value) {
      state.down = value
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

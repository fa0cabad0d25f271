/**
 * An HTTP API of API Gateway on loopback, with what is particular about it: events of payload format 2.0, names of headers in lower case
 * and repeated ones joined, cookies apart, the path decoded, binary bodies in base64, its size limits, its throttle, its own answers for
 * what never reaches a function, and its IAM authorizer.
 */
import { createServer, type Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { systemClock, type Clock } from '../../../core/clock.ts'
import { serverTls } from '../tls.ts'
import type { Invocation, Lambda } from './lambda.ts'
import { verifySigV4, type KeyHolder } from './sigv4.ts'
import { ACCOUNT, type DeployedRoute } from './template.ts'

/** Quotas of HTTP APIs, none of which can be raised (developer guide, "Quotas for HTTP APIs"); headers with the request line. */
export const BODY_MAX = 10 * 1024 * 1024
export const HEADERS_MAX = 10_240
export const INTEGRATION_MS = 30_000

export interface IamCaller extends KeyHolder {
  readonly arn: string
  readonly userId: string
  /** Whether its policies allow `execute-api:Invoke` here. */
  readonly mayInvoke: boolean
}
export interface AccessLogLine {
  readonly route: string
  readonly status: number
  readonly path: string
}
export interface HttpApi {
  /** `https://127.0.0.1:port`. */
  readonly url: string
  /** PEM of the CA of its certificate. */
  readonly ca: string
  readonly callers: Map<string, IamCaller>
  readonly log: AccessLogLine[]
  /** Largest request line with headers that came, bytes. */
  readonly largestHeaders: () => number
  /** Lets requests through to the functions; before, it answers 404 as an API without routes. */
  deploy(deployment: Deployment): void
  /** While true, every request is answered 503. */
  down: boolean
  close(): Promise<void>
}
export interface Deployment {
  readonly routes: readonly DeployedRoute[]
  readonly lambda: Pick<Lambda, 'invoke'>
  readonly throttle: { readonly rate: number; readonly burst: number }
}

const TEXT = /^(text\/|application\/(json|javascript|xml|x-www-form-urlencoded)|[^;]*\+(json|xml))/i

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** A route's pattern against a path: `{name}` is one segment, `{proxy+}` the rest, at least one. */
function fits(pattern: string, path: string): boolean {
  const want = pattern.split('/')
  const have = path.split('/')
  for (const [i, part] of want.entries()) {
    if (part === '{proxy+}') return have.length > i && have.slice(i).join('/') !== ''
    if (part.startsWith('{') ? !have[i] : part !== have[i]) return false
  }
  return want.length === have.length
}
/** The most specific route: a full match before a greedy one, a method before ANY, `$default` last. */
export function routeFor(
  routes: readonly DeployedRoute[],
  method: string,
  path: string,
): DeployedRoute | undefined {
  const candidates = routes.filter(({ key }) => {
    const [m, pattern = ''] = key.split(' ')
    return (m === method || m === 'ANY') && fits(pattern, path)
  })
  const rank = ({ key }: DeployedRoute): number =>
    (key.includes('{proxy+}') ? 0 : 1_000) +
    key.split('/').length * 10 +
    (key.startsWith('ANY') ? 0 : 1)
  return (
    candidates.sort((a, b) => rank(b) - rank(a))[0] ?? routes.find(({ key }) => key === '$default')
  )
}

async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length
    if (size > BODY_MAX) return undefined
    parts.push(part)
  }
  return Buffer.concat(parts)
}

const headerBytes = (request: IncomingMessage): number =>
  `${request.method} ${request.url}`.length +
  request.rawHeaders.reduce((sum, text, i) => sum + (i % 2 === 1 ? Buffer.byteLength(text) : 0), 0)

interface Reply {
  readonly statusCode?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly cookies?: readonly string[]
  readonly body?: string
  readonly isBase64Encoded?: boolean
}

/** `clock`: of its throttle and of how long it waits for a function. */
export async function httpApi(clock: Clock = systemClock): Promise<HttpApi> {
  const tls = await serverTls()
  const callers = new Map<string, IamCaller>()
  const log: AccessLogLine[] = []
  const state = { down: false }
  let largest = 0
  let deployment: Deployment | undefined
  let tokens = 0
  let filled = clock.monotonic()
  let id = 0

  function throttled({ rate, burst }: Deployment['throttle']): boolean {
    const now = clock.monotonic()
    tokens = Math.min(burst, tokens + ((now - filled) / 1000) * rate)
    filled = now
    if (tokens < 1) return true
    tokens -= 1
    return false
  }

  /** The authorizer block of the event, undefined when the caller is not let through. */
  function authorized(request: IncomingMessage, body: Buffer): object | undefined {
    const signed = verifySigV4(request, body, callers, 'execute-api')
    if (!signed.ok || !signed.holder.mayInvoke) return undefined
    const { arn, userId } = signed.holder
    return {
      iam: {
        accessKey: signed.accessKeyId,
        accountId: arn.split(':')[4],
        callerId: userId,
        cognitoIdentity: null,
        principalOrgId: null,
        userArn: arn,
        userId,
      },
    }
  }

  function eventOf(
    request: IncomingMessage,
    body: Buffer,
    route: DeployedRoute,
    authorizer: object | undefined,
  ): object {
    const [path = '/', query = ''] = (request.url ?? '/').split('?')
    // The path arrives decoded, and is cut where a decoded question mark stands.
    const rawPath = decoded(path).split('?')[0] ?? '/'
    const headers: Record<string, string> = {}
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
      const name = (request.rawHeaders[i] ?? '').toLowerCase()
      const value = request.rawHeaders[i + 1] ?? ''
      if (name === 'cookie' || name === 'connection') continue
      headers[name] = headers[name] === undefined ? value : `${headers[name]},${value}`
    }
    const sourceIp = request.socket.remoteAddress ?? ''
    headers['x-forwarded-for'] =
      headers['x-forwarded-for'] === undefined
        ? sourceIp
        : `${headers['x-forwarded-for']},${sourceIp}`
    headers['x-forwarded-proto'] = 'https'
    headers['x-forwarded-port'] = '443'
    headers['x-amzn-trace-id'] = 'Root=1-00000000-000000000000000000000000'
    const text = TEXT.test(headers['content-type'] ?? 'text/plain')
    const cookies = request.headers.cookie?.split('; ')
    return {
      version: '2.0',
      routeKey: route.key,
      rawPath,
      rawQueryString: query,
      ...(cookies ? { cookies } : {}),
      headers,
      requestContext: {
        accountId: ACCOUNT,
        apiId: 'rehearsal0',
        domainName: headers['host'],
        domainPrefix: 'rehearsal0',
        http: {
          method: request.method,
          path: rawPath,
          protocol: 'HTTP/1.1',
          sourceIp,
          userAgent: headers['user-agent'] ?? '',
        },
        requestId: `gw-${++id}`,
        routeKey: route.key,
        stage: '$default',
        time: '26/Nov/2026:00:00:00 +0000',
        timeEpoch: Date.now(),
        ...(authorizer ? { authorizer } : {}),
      },
      ...(body.length > 0 ? { body: text ? body.toString('utf8') : body.toString('base64') } : {}),
      isBase64Encoded: body.length > 0 && !text,
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const found: { route?: DeployedRoute | undefined } = {}
    const answer = (
      status: number,
      headers: Readonly<Record<string, string | string[]>>,
      body: string | Buffer,
    ) => {
      log.push({
        route: found.route?.key ?? '-',
        status,
        path: (request.url ?? '').split('?')[0] ?? '',
      })
      response.writeHead(status, { ...headers, 'apigw-requestid': `gw-${id}` }).end(body)
    }
    const own = (status: number, message: string) =>
      answer(status, { 'content-type': 'application/json' }, JSON.stringify({ message }))
    largest = Math.max(largest, headerBytes(request))
    if (headerBytes(request) > HEADERS_MAX) return own(431, 'Request Header Fields Too Large')
    if (state.down) return own(503, 'Service Unavailable')
    if (!deployment) return own(404, 'Not Found')
    if (throttled(deployment.throttle)) return own(429, 'Too Many Requests')
    const body = await bodyOf(request)
    if (!body) return own(413, 'Request Entity Too Large')
    const path = decoded((request.url ?? '/').split('?')[0] ?? '/').split('?')[0] ?? '/'
    const route = routeFor(deployment.routes, request.method ?? '', path)
    found.route = route
    if (!route) return own(404, 'Not Found')
    const authorizer = route.iam ? authorized(request, body) : undefined
    if (route.iam && !authorizer) return own(403, 'Forbidden')
    const late = new Promise<'late'>((resolve) => {
      const timer = clock.after(INTEGRATION_MS, () => resolve('late'))
      response.once('close', () => timer.cancel())
    })
    const event = eventOf(request, body, route, authorizer)
    const result: Invocation | 'late' = await Promise.race([
      deployment.lambda.invoke(route.functionArn, event),
      late,
    ])
    if (result === 'late') return own(503, 'Service Unavailable')
    if (result.kind !== 'answer')
      return own(result.kind === 'too large' ? 413 : 500, 'Internal Server Error')
    const reply = result.value as Reply
    const bytes = Buffer.from(reply.body ?? '', reply.isBase64Encoded ? 'base64' : 'utf8')
    answer(
      reply.statusCode ?? 200,
      {
        ...reply.headers,
        ...(reply.cookies?.length ? { 'set-cookie': [...reply.cookies] } : {}),
        'content-length': String(bytes.length),
      },
      bytes,
    )
  }

  const server: Server = createServer({ ...tls.options, maxHeaderSize: 64 * 1024 }, (req, res) => {
    serve(req, res).catch((e: unknown) => {
      log.push({ route: '-', status: 500, path: String(e) })
      if (!res.headersSent) res.writeHead(500)
      res.end()
    })
  })
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca: tls.ca,
    callers,
    log,
    largestHeaders: () => largest,
    deploy(next) {
      deployment = next
      tokens = next.throttle.burst
    },
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

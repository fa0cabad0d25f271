/** Calls to the control plane: JSON over HTTPS with deadlines and caps, signed as an identity or with a bearer token. */
import type { Agent as HttpAgent } from 'node:http'
import type { ConnectionOptions } from 'node:tls'
import { problemError } from '../core/api/problem.ts'
import { signRequest } from '../core/certs/signed-request.ts'
import { sleep, systemClock, plus, type Clock, type Instant } from '../core/clock.ts'
import { AppError, invariant, toAppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { systemRandom, type Random } from '../core/random.ts'
import type { OwnIdentity } from '../core/tunnel/handshake.ts'
import { printable } from '../core/tunnel/reset-reason.ts'
import { backoff } from './backoff.ts'
import { dialAgent, exchange, type Answer } from './http-exchange.ts'
import { stayAwake } from './stay-awake.ts'
import { tlsOptions, type Trust } from './trust.ts'
import type { ForwardProxy } from './forward-proxy.ts'

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'DELETE'
export interface ApiClientOptions {
  /** Origin of the API, as `https://access.example.com` (from the discovery document). */
  readonly baseUrl: string
  /** A function where the CAs change while the client lives. */
  readonly trust: Trust | (() => Trust)
  /** Signs each request as this identity. Needs `cluster`. A function, because identities are renewed. */
  readonly identity?: (() => OwnIdentity) | undefined
  readonly cluster?: string | undefined
  /** API key or OIDC token instead. */
  readonly bearer?: string | undefined
  /** Or headers by another scheme, as AWS signatures are. `body` is empty when there is none. */
  readonly sign?: ((request: RequestToAuthorize) => Readonly<Record<string, string>>) | undefined
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  readonly proxy?: ForwardProxy | undefined
  /**
   * Milliseconds for which a call that was one too many (429) is sent again, with jitter and not before the time that the answer names.
   * A GET that met a gateway without a service behind it is sent once more. Default 0: for callers with a policy of their own.
   */
  readonly patience?: number | undefined
}
export interface RequestToAuthorize {
  readonly method: string
  readonly url: URL
  readonly body: string
  readonly now: Instant
}
export interface ApiRequestOptions {
  readonly signal?: AbortSignal | undefined
  readonly idempotencyKey?: string | undefined
  /** Milliseconds for the whole call, default LIMITS.httpTimeout. */
  readonly timeout?: number | undefined
  readonly ifNoneMatch?: string | undefined
}
export interface ApiResponse {
  readonly status: number
  /** Parsed JSON; undefined for 204 and 304. Untrusted: give it to a schema. */
  readonly body: unknown
  readonly etag: string | undefined
  readonly requestId: string | undefined
}
export interface ApiClient {
  /** The parsed JSON answer; untrusted, give it to a schema. Throws AppError made from problem+json. */
  request(
    method: HttpMethod,
    path: string,
    body?: unknown,
    options?: ApiRequestOptions,
  ): Promise<unknown>
  /** The same with status, etag and request id; 304 is an answer, not an error. */
  send(
    method: HttpMethod,
    path: string,
    body?: unknown,
    options?: ApiRequestOptions,
  ): Promise<ApiResponse>
  /** Server clock minus ours in milliseconds, learned from ERR_CLOCK; 0 until then. */
  readonly clockOffset: number
  /** Closes kept connections. */
  close(): void
}

export function apiClient(options: ApiClientOptions): ApiClient {
  const base = new URL(options.baseUrl)
  const clock = options.clock ?? systemClock
  const connections = createConnections(options, base, clock)
  let clockOffset = 0

  const once = async (
    method: HttpMethod,
    url: URL,
    body: string | undefined,
    request: ApiRequestOptions,
  ): Promise<Answer> =>
    exchange({
      method,
      url,
      ...connections.now(),
      clock,
      body,
      headers: {
        accept: 'application/json, application/problem+json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(request.idempotencyKey ? { 'idempotency-key': request.idempotencyKey } : {}),
        ...(request.ifNoneMatch ? { 'if-none-match': request.ifNoneMatch } : {}),
        ...(await authorization(options, {
          method,
          url,
          body,
          now: plus(clock.now(), clockOffset),
        })),
      },
      timeout: request.timeout ?? LIMITS.httpTimeout.value,
      maxBytes: LIMITS.httpResponse.value,
      signal: request.signal,
    })

  const ask = async (
    method: HttpMethod,
    url: URL,
    text: string | undefined,
    request: ApiRequestOptions,
  ): Promise<ApiResponse> => {
    const first = await once(method, url, text, request)
    if (first.status < 400) return response(first)
    const error = problem(first)
    const serverTime = error.details?.serverTime
    // Our clock is off: keep the difference and try once more (protocols.md 3).
    if (error.code !== 'ERR_CLOCK' || serverTime === undefined || !options.identity) throw error
    clockOffset = serverTime - clock.now()
    const second = await once(method, url, text, request)
    if (second.status < 400) return response(second)
    throw problem(second)
  }

  /** Undefined: what it failed with will not pass, may have been done already, or no time is left. */
  const pauseAfter = (
    error: AppError,
    method: HttpMethod,
    tries: number,
    left: number,
  ): number | undefined => {
    const refused = error.code === 'ERR_RATE_LIMITED'
    if (!refused && !(method === 'GET' && tries === 0 && error.code === 'ERR_GATEWAY'))
      return undefined
    const pause = backoff(tries, error, options.random ?? systemRandom)
    return pause <= left ? pause : undefined
  }

  const send: ApiClient['send'] = async (method, path, body, request = {}) => {
    const url = new URL(path, base)
    if (url.origin !== base.origin) throw new AppError('ERR_USAGE', `${path} is not a path`)
    const text = body === undefined ? undefined : JSON.stringify(body)
    const until = clock.monotonic() + (options.patience ?? 0)
    for (let tries = 0; ; tries++)
      try {
        return await ask(method, url, text, request)
      } catch (e) {
        const error = toAppError(e)
        const pause = pauseAfter(error, method, tries, until - clock.monotonic())
        if (pause === undefined) throw e
        const rest = stayAwake()
        await sleep(clock, pause, request.signal).finally(rest)
      }
  }

  return {
    send,
    request: async (...call) => (await send(...call)).body,
    get clockOffset() {
      return clockOffset
    },
    close: () => connections.close(),
  }
}

interface Connections {
  now(): { readonly tls: ConnectionOptions; readonly agent: HttpAgent }
  close(): void
}

/** Kept connections, for as long as TLS believes the same CAs. Calls under way are not cut when that changes. */
function createConnections(options: ApiClientOptions, base: URL, clock: Clock): Connections {
  const { trust, proxy } = options
  const open = (given: Trust) => {
    const tls = tlsOptions(given)
    return { ca: given.ca.join(), tls, agent: dialAgent(base, { tls, clock, proxy }, true) }
  }
  let current = open(typeof trust === 'function' ? trust() : trust)
  const before: HttpAgent[] = []
  return {
    now() {
      if (typeof trust !== 'function') return current
      const given = trust()
      if (given.ca.join() === current.ca) return current
      for (const idle of Object.values(current.agent.freeSockets).flat()) idle?.destroy()
      before.push(current.agent)
      current = open(given)
      return current
    },
    close() {
      for (const agent of [...before, current.agent]) agent.destroy()
    },
  }
}

async function authorization(
  options: ApiClientOptions,
  request: {
    readonly method: string
    readonly url: URL
    readonly body: string | undefined
    readonly now: Instant
  },
): Promise<Record<string, string>> {
  if (options.bearer !== undefined) return { authorization: `Bearer ${options.bearer}` }
  if (options.sign) return { ...options.sign({ ...request, body: request.body ?? '' }) }
  if (!options.identity) return {}
  const { cluster } = options
  invariant(cluster !== undefined, 'a signed request needs the cluster')
  const random = options.random ?? systemRandom
  const { certificate, signer } = options.identity()
  const { method, url, now, body = '' } = request
  return {
    authorization: await signRequest({
      method,
      url,
      body,
      cluster,
      certificate,
      signer,
      now,
      random,
    }),
  }
}

const one = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : value?.[0]

function response(answer: Answer): ApiResponse {
  return {
    status: answer.status,
    body: answer.body.length === 0 ? undefined : json(answer),
    etag: one(answer.headers['etag']),
    requestId: one(answer.headers['x-request-id']),
  }
}

function json(answer: Answer): unknown {
  try {
    return JSON.parse(answer.body.toString('utf8'))
  } catch (cause) {
    throw new AppError('ERR_UNREACHABLE', 'The answer is not JSON; is this the right address?', {
      cause,
      internal: `status ${answer.status}: ${printable(answer.body.toString('utf8', 0, 200))}`,
    })
  }
}

const problem = (answer: Answer): AppError =>
  problemError({
    status: answer.status,
    body: answer.body,
    retryAfter: one(answer.headers['retry-after']),
    requestId: one(answer.headers['x-request-id']),
  })

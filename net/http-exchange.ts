/** One HTTP request and its whole answer, capped in size and time. No redirects: nothing of ours redirects. */
import { request as requestHttp, Agent as HttpAgent, type IncomingMessage } from 'node:http'
import { request as requestHttps, Agent as HttpsAgent } from 'node:https'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { AppError, isAppError } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import { dial } from './dial.ts'
import { LIMITS } from '../core/limits.ts'
import type { ForwardProxy } from './forward-proxy.ts'

export interface Exchange {
  readonly method: string
  readonly url: URL
  /** For https. */
  readonly tls: ConnectionOptions
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | undefined
  /** Milliseconds for the whole exchange. */
  readonly timeout: number
  /** Bytes of the answer's body; a longer one ends the exchange with ERR_INPUT_TOO_LARGE. */
  readonly maxBytes: number
  readonly clock: Clock
  readonly signal?: AbortSignal | undefined
  readonly proxy?: ForwardProxy | undefined
  /** The machine's own metadata service, which has no TLS and lies on no network that others are on. */
  readonly metadataService?: boolean | undefined
  /** Keeps connections; default: one for this exchange. */
  readonly agent?: HttpAgent | undefined
}
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

/** Plain HTTP is for this very machine only: what we send may be worth stealing. */
export function checkScheme(url: URL): void {
  const host = url.hostname
  const loopback =
    host === 'localhost' || host === '[::1]' || (isIP(host) === 4 && host.startsWith('127.'))
  if (url.protocol === 'https:' || url.protocol === 'wss:') return
  if (loopback && (url.protocol === 'http:' || url.protocol === 'ws:')) return
  throw new AppError('ERR_USAGE', `${url.origin}: use https`)
}

interface AgentParts {
  readonly tls: ConnectionOptions
  readonly clock: Clock
  readonly proxy?: ForwardProxy | undefined
}
type Created = (err: Error | null, socket?: unknown) => void

/** An agent whose connections come from `dial`, so that every one has a deadline and may go through a CONNECT proxy. */
export function dialAgent(url: URL, parts: AgentParts, keepAlive: boolean): HttpAgent {
  const secure = url.protocol === 'https:'
  const agent = secure ? new HttpsAgent({ keepAlive }) : new HttpAgent({ keepAlive })
  const createConnection = (_options: unknown, created: Created): undefined => {
    dial({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || (secure ? 443 : 80)),
      tls: secure ? parts.tls : undefined,
      timeout: LIMITS.dialTimeout.value,
      clock: parts.clock,
      proxy: secure ? parts.proxy : undefined,
    }).then(
      (socket) => created(null, socket),
      (e: unknown) => created(e as Error),
    )
    return undefined
  }
  return Object.assign(agent, { createConnection })
}

/** Rejects with ERR_UNREACHABLE, ERR_TIMEOUT, ERR_INPUT_TOO_LARGE or the signal's reason. */
export function exchange(options: Exchange): Promise<Answer> {
  if (!options.metadataService) checkScheme(options.url)
  const agent = options.agent ?? dialAgent(options.url, options, false)
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) return reject(options.signal.reason as Error)
    const send = options.url.protocol === 'https:' ? requestHttps : requestHttp
    const { method, headers, url } = options
    const req = send(url, { method, headers, agent, maxHeaderSize: LIMITS.httpHeaders.value })
    const done = (err: unknown, answer?: Answer) => {
      timer.cancel()
      options.signal?.removeEventListener('abort', onAbort)
      if (answer) return resolve(answer)
      req.destroy()
      reject(isAppError(err) || err === options.signal?.reason ? (err as Error) : failed(url, err))
    }
    const onAbort = () => done(options.signal?.reason)
    const timer = options.clock.after(options.timeout, () =>
      done(new AppError('ERR_TIMEOUT', `${url.host} did not answer in time`)),
    )
    options.signal?.addEventListener('abort', onAbort, { once: true })
    req.on('error', done)
    req.on('response', (res) => collect(res, options.maxBytes, done))
    req.end(options.body)
  })
}

function collect(
  res: IncomingMessage,
  maxBytes: number,
  done: (err: unknown, answer?: Answer) => void,
): void {
  const parts: Buffer[] = []
  let bytes = 0
  res.on('data', (part: Buffer) => {
    bytes += part.length
    if (bytes > maxBytes) done(new AppError('ERR_INPUT_TOO_LARGE', 'The answer is too large'))
    else parts.push(part)
  })
  res.on('error', done)
  res.on('aborted', () => done(new Error('the answer was cut off')))
  res.on('end', () =>
    done(undefined, {
      status: res.statusCode ?? 0,
      headers: res.headers,
      body: Buffer.concat(parts),
    }),
  )
}

const failed = (url: URL, cause: unknown): AppError =>
  new AppError('ERR_UNREACHABLE', `${url.host} cannot be reached`, {
    cause,
    internal: cause instanceof Error ? cause.message : String(cause),
  })

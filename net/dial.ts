/** One connection to one address: TCP, a CONNECT proxy in between if there is one, TLS on top. One deadline for all of it. */
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { AppError, isAppError } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import type { ForwardProxy } from './forward-proxy.ts'

export interface DialOptions {
  readonly host: string
  readonly port: number
  /** Absent: plain TCP. */
  readonly tls?: ConnectionOptions | undefined
  readonly proxy?: ForwardProxy | undefined
  /** Milliseconds until the connection must stand. */
  readonly timeout: number
  readonly clock: Clock
  readonly signal?: AbortSignal | undefined
}

/** Answer header of a CONNECT proxy, bytes; more is refused. */
const PROXY_ANSWER_MAX = 16 * 1024

/** Rejects with ERR_UNREACHABLE, ERR_FORWARD_PROXY, ERR_TIMEOUT or the signal's reason. The socket has no listeners left. */
export async function dial(options: DialOptions): Promise<Socket> {
  const gaveUp = new AbortController()
  const stop = (reason: unknown) => gaveUp.abort(reason)
  const timer = options.clock.after(options.timeout, () =>
    stop(new AppError('ERR_TIMEOUT', `${options.host} did not answer in time`)),
  )
  const onAbort = () => stop(options.signal?.reason)
  options.signal?.addEventListener('abort', onAbort, { once: true })
  if (options.signal?.aborted) onAbort()
  try {
    const proxy = options.proxy?.(options.host, options.port)
    const carrier = proxy
      ? await throughProxy(proxyUrl(proxy), options, gaveUp.signal)
      : await ready(
          () => connectTcp({ host: options.host, port: options.port, noDelay: true }),
          'connect',
          gaveUp.signal,
        )
    return options.tls ? await secure(carrier, options, options.tls, gaveUp.signal) : carrier
  } catch (e) {
    if (gaveUp.signal.aborted) throw gaveUp.signal.reason
    throw isAppError(e) ? e : unreachable(options.host, e)
  } finally {
    timer.cancel()
    options.signal?.removeEventListener('abort', onAbort)
  }
}

const unreachable = (host: string, cause: unknown): AppError => {
  const code = (cause as NodeJS.ErrnoException).code
  const detail = typeof code === 'string' ? ` (${code})` : ''
  return new AppError('ERR_UNREACHABLE', `${host} cannot be reached${detail}`, {
    cause,
    internal: cause instanceof Error ? cause.message : String(cause),
  })
}

/** The resolver answered that there is no such name, which is another thing than no answer. */
export const isUnknownName = (e: AppError): boolean =>
  (e.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOTFOUND'

/** Makes a socket and waits for its event; an abort or an error destroys it. */
function ready<S extends Socket>(
  make: () => S,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<S> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const socket = make()
    const done = () => {
      signal.removeEventListener('abort', onAbort)
      socket.off(event, onReady)
      socket.off('error', onError)
      socket.off('close', onClose)
    }
    const onReady = () => {
      done()
      resolve(socket)
    }
    const onError = (err: Error) => {
      done()
      // A second error may follow the first; without a listener it would end the process.
      socket.on('error', () => undefined)
      socket.destroy()
      reject(err)
    }
    const onClose = () => onError(new Error('closed before it was ready'))
    const onAbort = () => onError(signal.reason as Error)
    socket.once(event, onReady)
    socket.once('error', onError)
    socket.once('close', onClose)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

function secure(
  carrier: Socket,
  options: DialOptions,
  tls: ConnectionOptions,
  signal: AbortSignal,
): Promise<Socket> {
  carrier.on('error', () => undefined)
  return ready(
    () =>
      connectTls({
        ...tls,
        socket: carrier,
        host: options.host,
        // RFC 6066 section 3: no literal addresses in the server name.
        ...(isIP(options.host) ? {} : { servername: options.host }),
      }),
    'secureConnect',
    signal,
  ).catch((e: unknown) => {
    carrier.destroy()
    throw e
  })
}

function proxyUrl(given: string): URL {
  const url = URL.canParse(given) ? new URL(given) : undefined
  if (url?.protocol === 'http:') return url
  throw new AppError('ERR_CONFIG_INVALID', 'HTTPS_PROXY: use http://host:port')
}

/** RFC 9110 section 9.3.6. */
async function throughProxy(
  proxy: URL,
  options: DialOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const host = proxy.hostname.replace(/^\[|\]$/g, '')
  const port = Number(proxy.port || 80)
  const socket = await ready(
    () => connectTcp({ host, port, noDelay: true }),
    'connect',
    signal,
  ).catch((e: unknown) => {
    throw signal.aborted ? e : unreachable(`The HTTPS proxy ${proxy.host}`, e)
  })
  const target = `${isIP(options.host) === 6 ? `[${options.host}]` : options.host}:${options.port}`
  const user = decodeURIComponent(proxy.username)
  const login = Buffer.from(`${user}:${decodeURIComponent(proxy.password)}`).toString('base64')
  const auth = user === '' ? '' : `Proxy-Authorization: Basic ${login}\r\n`
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${auth}\r\n`)
  const head = await readHead(socket, signal)
  if (/^HTTP\/1\.[01] 2\d\d[ \r]/.test(head)) return socket
  socket.destroy()
  throw refusal(head.slice(0, head.indexOf('\r')).slice(0, 200), proxy.host, target)
}

/** 4xx: the proxy does not want this, and will not want it the next time. 5xx: it did not get there itself. */
function refusal(line: string, proxy: string, target: string): AppError {
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(line)?.[1])
  const why = status === 407 ? 'its login' : `a connection to ${target}`
  const code = status >= 400 && status < 500 ? 'ERR_FORWARD_PROXY' : 'ERR_UNREACHABLE'
  const message = `The HTTPS proxy ${proxy} refused ${why}${status ? ` (${status})` : ''}`
  return new AppError(code, message, { internal: line })
}

/** Everything up to the empty line; bytes after it are put back. */
function readHead(socket: Socket, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let held = Buffer.alloc(0)
    const done = (err: Error | undefined, text = '') => {
      socket.off('data', onData)
      socket.off('error', done)
      socket.off('close', onClose)
      signal.removeEventListener('abort', onAbort)
      socket.pause()
      if (!err) return resolve(text)
      socket.on('error', () => undefined)
      socket.destroy()
      reject(err)
    }
    const onClose = () => done(new Error('the proxy closed the connection'))
    const onAbort = () => done(signal.reason as Error)
    const onData = (bytes: Buffer) => {
      held = Buffer.concat([held, bytes])
      const end = held.indexOf('\r\n\r\n')
      if (end < 0 && held.length <= PROXY_ANSWER_MAX) return
      if (end < 0) return done(new Error('the answer of the proxy is too large'))
      done(undefined, held.toString('latin1', 0, end + 2))
      if (held.length > end + 4) socket.unshift(held.subarray(end + 4))
    }
    socket.on('data', onData)
    socket.once('error', done)
    socket.once('close', onClose)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

/**
 * `postern proxy app NAME`: a local listener. Each connection becomes a stream with TLS inside, from here to the agent, so that
 * the proxy sees ciphertext only.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { pipeline } from 'node:stream'
import { systemClock, type Clock } from '../../core/clock.ts'
import { AppError, toAppError } from '../../core/errors.ts'
import { openInner } from './inner-tls.ts'
import type { OpenedResource, ProxySession } from './session.ts'

export interface AppListenerOptions {
  readonly session: ProxySession
  readonly name: string
  /** Default 127.0.0.1 and a free port. */
  readonly host?: string | undefined
  readonly port?: number | undefined
  /** A connection failed; the client saw its socket close (for http apps: an HTTP answer). */
  onError?: ((error: AppError) => void) | undefined
  readonly clock?: Clock | undefined
  readonly signal?: AbortSignal | undefined
}
export interface AppListener {
  readonly host: string
  readonly port: number
  /** Connections open now. */
  readonly connections: number
  close(): Promise<void>
}

/** An answer that a browser or curl can show, for what fails before the app was reached. */
function httpFailure(error: AppError): string {
  const { status } = error.kind
  const body = `${error.message} (${error.code})\n${error.kind.hint}\n`
  return [
    `HTTP/1.1 ${status} ${status === 403 ? 'Forbidden' : 'Bad Gateway'}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body,
  ].join('\r\n')
}

/** Bytes both ways, each end passed on by itself; an error on one side ends the other. */
function join(a: Socket, b: Socket): void {
  const over = (): void => {
    if (a.errored || b.errored) {
      a.destroy()
      b.destroy()
    }
  }
  pipeline(a, b, over)
  pipeline(b, a, over)
}

async function listening(server: Server, host: string, port: number): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new AppError('ERR_USAGE', `cannot listen on ${host}:${port}`, { cause })),
    )
    server.listen(port, host, resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new AppError('ERR_INTERNAL')
  return address
}

/** Resolves when it listens. */
export async function listenApp(options: AppListenerOptions): Promise<AppListener> {
  const { session, name } = options
  const clock = options.clock ?? systemClock
  const open = new Set<Socket>()
  const ending = new AbortController()

  async function serve(socket: Socket): Promise<void> {
    const gone = new AbortController()
    const leave = (): void => gone.abort(new AppError('ERR_STREAM_RESET', 'the client is gone'))
    socket.once('close', leave)
    const signal = AbortSignal.any([gone.signal, ending.signal])
    let opened: OpenedResource | undefined
    try {
      opened = await session.open({ kind: 'app', name }, signal)
      const { stream, route } = opened
      const inner = await openInner({
        stream,
        route,
        profile: session.profile,
        name,
        clock,
        signal,
      })
      socket.off('close', leave)
      join(socket, inner)
    } catch (e) {
      const error = toAppError(e)
      if (!signal.aborted) options.onError?.(error)
      if (opened?.protocol === 'http') socket.end(httpFailure(error), () => socket.destroy())
      else socket.destroy()
    }
  }

  // noDelay: an answer in two pieces must not wait for the client's delayed acknowledgement of the first.
  const accept = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true }
  const server = createServer(accept, (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => undefined)
    void serve(socket)
  })
  const { address, port } = await listening(server, options.host ?? '127.0.0.1', options.port ?? 0)
  const close = async (): Promise<void> => {
    ending.abort(new AppError('ERR_TUNNEL_CLOSED'))
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of open) socket.destroy()
    await closed
  }
  options.signal?.addEventListener('abort', () => void close(), { once: true })
  return {
    host: address,
    port,
    get connections() {
      return open.size
    },
    close,
  }
}

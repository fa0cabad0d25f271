/**
 * The private listener of a running part: `/metrics`, `/healthz`, `/readyz`. Plain HTTP, on loopback unless somebody says
 * otherwise, never on the public address: it tells how many there are and what fails, though neither names nor secrets.
 */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { EXPOSITION_TYPE } from '../core/metrics/metrics.ts'

export interface Health {
  readonly ok: boolean
  /** Shown as JSON. */
  readonly facts: Readonly<Record<string, unknown>>
}

export interface DiagnosticsOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** The metrics, as text. */
  page(): string | Promise<string>
  /** Alive: a supervisor restarts what is not. */
  healthy(): Health
  /** May be given new work. */
  ready(): Health | Promise<Health>
}

export interface Diagnostics {
  readonly host: string
  readonly port: number
  close(): Promise<void>
}

/** Scrapes that may be open at once: a private address has few readers. */
const CONNECTIONS = 64

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (e: NodeJS.ErrnoException) =>
      reject(
        new AppError(
          'ERR_ADDRESS_UNUSABLE',
          `cannot listen on ${host}:${port} for metrics (${e.code ?? e.message})`,
          { cause: e },
        ),
      ),
    )
    server.listen({ host, port }, () => resolve((server.address() as AddressInfo).port))
  })
}

/** Rejects with ERR_ADDRESS_UNUSABLE. */
export async function openDiagnostics(options: DiagnosticsOptions): Promise<Diagnostics> {
  const { host } = options
  const answer = (response: ServerResponse, status: number, type: string, body: string): void => {
    response.writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    response.end(body)
  }
  const tell = (response: ServerResponse, { ok, facts }: Health): void =>
    answer(response, ok ? 200 : 503, 'application/json', `${JSON.stringify({ ok, ...facts })}\n`)

  async function serve(path: string, response: ServerResponse): Promise<void> {
    switch (path) {
      case '/metrics':
        return answer(response, 200, EXPOSITION_TYPE, await options.page())
      case '/healthz':
        return tell(response, options.healthy())
      case '/readyz':
        return tell(response, await options.ready())
      default:
        return answer(response, 404, 'text/plain', '/metrics, /healthz or /readyz\n')
    }
  }

  const server = createServer(
    {
      maxHeaderSize: LIMITS.httpHeaders.value,
      headersTimeout: LIMITS.handshakeTimeout.value,
      requestTimeout: LIMITS.httpTimeout.value,
    },
    (request, response) => {
      if (request.method !== 'GET' && request.method !== 'HEAD')
        return answer(response, 405, 'text/plain', 'GET only\n')
      serve((request.url ?? '').split('?')[0] ?? '', response).catch(() =>
        answer(response, 500, 'text/plain', 'cannot be told now\n'),
      )
    },
  )
  server.maxConnections = CONNECTIONS
  const port = await listen(server, host, options.port)
  server.on('error', () => undefined)
  return {
    host,
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

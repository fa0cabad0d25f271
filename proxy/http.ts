/** What the proxy says in plain HTTP: its health, the discovery document, and no to an upgrade that it does not want. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { AppError } from '../core/errors.ts'
import type { CaDocument, Discovery } from '../core/domain/cluster.ts'
import type { ProxyState } from './counters.ts'

const REASON: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  404: 'Not Found',
  426: 'Upgrade Required',
  503: 'Service Unavailable',
}

const problemOf = (error: AppError): string =>
  JSON.stringify({
    type: 'about:blank',
    title: error.kind.title,
    status: error.kind.status,
    detail: error.message,
    code: error.code,
  })

/** Answers on a socket that has no ServerResponse and closes it. Never throws. */
export function refuseUpgrade(socket: Duplex, error: AppError): void {
  const { status } = error.kind
  const body = problemOf(error)
  const retryAfter = error.details?.retryAfter
  const head = [
    `HTTP/1.1 ${status} ${REASON[status] ?? 'Refused'}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    ...(retryAfter === undefined ? [] : [`retry-after: ${retryAfter}`]),
    'connection: close',
  ]
  // The peer may be gone; that is its own business.
  socket.on('error', () => undefined)
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

export interface HealthDeps {
  state(): ProxyState
  /** Version of the policy in force; 0: none yet, and then no lock is known here. */
  policyVersion(): number
  /** Undefined: not answered here. */
  discovery(): Discovery | undefined
  cas(): CaDocument | undefined
}

/** May this proxy be given new tunnels? Not without a lease, not without a policy, not while it drains. */
export function readiness(deps: Pick<HealthDeps, 'state' | 'policyVersion'>): {
  readonly ok: boolean
  readonly facts: { readonly state: ProxyState; readonly policy: number }
} {
  const facts = { state: deps.state(), policy: deps.policyVersion() }
  return { ok: facts.state === 'serving' && facts.policy > 0, facts }
}

/** True when the request was one of ours and is answered. */
export function answerRequest(
  request: IncomingMessage,
  response: ServerResponse,
  deps: HealthDeps,
): boolean {
  const path = (request.url ?? '').split('?')[0]
  const answer = (status: number, body: unknown): true => {
    const text = JSON.stringify(body)
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    response.end(request.method === 'HEAD' ? undefined : text)
    return true
  }
  const told = (body: unknown): boolean => body !== undefined && answer(200, body)
  if (request.method !== 'GET' && request.method !== 'HEAD') return false
  switch (path) {
    case '/healthz':
      return answer(deps.state() === 'closed' ? 503 : 200, { state: deps.state() })
    case '/readyz': {
      const { ok, facts } = readiness(deps)
      return answer(ok ? 200 : 503, { state: facts.state })
    }
    case '/.well-known/postern':
      return told(deps.discovery())
    case '/v1/ca':
      return told(deps.cas())
    default:
      return false
  }
}

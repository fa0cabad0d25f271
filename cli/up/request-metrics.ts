/** Counts the requests of the control plane where it runs as a process. In the cloud the platform counts them. */
import type { Clock } from '../../core/clock.ts'
import type { Metrics } from '../../core/metrics/metrics.ts'
import { OPERATIONS } from '../../functions/openapi/operations.ts'

type Fetch = (request: Request, peer: { readonly ip: string }) => Promise<Response>

/** The paths of the API up to their second word; whatever else is asked for counts as `other`. */
const twoWords = (path: string): string => path.split('/').slice(0, 3).join('/')
const KNOWN = new Set(OPERATIONS.map(({ path }) => twoWords(path)))
const METHODS: readonly string[] = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']

const routeOf = (url: string): string => {
  const route = twoWords(new URL(url).pathname)
  return KNOWN.has(route) ? route : 'other'
}

export const countRequests =
  (metrics: Metrics, clock: Clock, fetch: Fetch): Fetch =>
  async (request, peer) => {
    const began = clock.monotonic()
    const response = await fetch(request, peer)
    const route = routeOf(request.url)
    const method = METHODS.includes(request.method) ? request.method : 'other'
    metrics.inc('postern_api_requests_total', { method, route, status: String(response.status) })
    metrics.observe('postern_api_request_seconds', (clock.monotonic() - began) / 1000, { route })
    return response
  }

/** Checking a route: the proxy finds the way by it, the agent and the user's side check that it is the control plane's word. */
import type { KeyObject } from 'node:crypto'
import { plus, fromSeconds, type Instant } from '../clock.ts'
import { jwsVerify } from '../certs/jws.ts'
import { AppError, reasonOf } from '../errors.ts'
import { parseId, type AgentId } from '../ids.ts'
import { LIMITS } from '../limits.ts'
import { ROUTE_TYP, routeClaims, type RouteClaims } from './route.ts'

export interface RouteCheck {
  readonly cluster: string
  /** Public keys of the policy CA, any of which may have signed. */
  readonly keys: readonly KeyObject[]
  readonly now: Instant
}

export interface CheckedRoute extends RouteClaims {
  readonly agentIds: readonly AgentId[]
}

const broken = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_ROUTE_INVALID', undefined, { internal: `route: ${internal}`, cause })

/** Throws ERR_ROUTE_INVALID, ERR_CLOCK never: a route that is not yet valid is not valid. */
export async function checkRoute(jws: string, check: RouteCheck): Promise<CheckedRoute> {
  const { payload } = await jwsVerify(jws, {
    keys: check.keys,
    algorithms: ['ES256', 'EdDSA'],
    typ: ROUTE_TYP,
    maxBytes: LIMITS.openPayload.value,
  }).catch((e: unknown) => {
    throw broken(reasonOf(e), e)
  })
  const parsed = routeClaims.safeParse(payload)
  if (!parsed.success) throw broken('claims have another shape', parsed.error)
  const route = parsed.data
  if (route.aud !== check.cluster) throw broken('for another cluster')
  if (fromSeconds(route.exp) <= check.now) throw broken('expired')
  // Whoever signed it has a clock of its own, so the start gets the tolerance that signed requests get.
  if (fromSeconds(route.iat) > plus(check.now, LIMITS.proofWindow.value))
    throw broken('not valid yet')
  if (route.exp - route.iat > LIMITS.routeTtl.value / 1000) throw broken('lives too long')
  const agentIds = route.agents.map((text) => parseId('agent', text))
  return {
    ...route,
    agentIds: agentIds.map((id) => {
      if (!id) throw broken('names something that is no agent')
      return id
    }),
  }
}

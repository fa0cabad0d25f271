/** `POST /v1/routes`: where a resource is, for a user who may reach it. What is missing and what is denied look the same. */
import {
  ROUTE_TYP,
  routeRequest,
  type RouteAnswer,
  type RouteClaims,
} from '../../core/api/route.ts'
import { jwsSign } from '../../core/certs/jws.ts'
import { instant, iso, plus, seconds, type Instant } from '../../core/clock.ts'
import type { Resource } from '../../core/domain/resource.ts'
import { serviceOfResource, type ServiceKind } from '../../core/domain/service.ts'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { PolicyDeps } from '../deps.ts'
import { body, notFound, type Ctx, type VerbApp } from '../http.ts'
import { callerOf } from '../middleware/caller.ts'
import type { AgentPresence } from '../store/presence-store.ts'
import { reachOf } from '../visibility.ts'

interface Online {
  readonly resource: Resource
  readonly proxies: readonly string[]
}

/** Whoever was here a moment ago may be changing proxies: only then it is worth asking again soon. */
function offline(seen: Iterable<AgentPresence>, now: Instant): AppError {
  const times = [...seen].map((one) => one.lastSeen).filter((at) => at !== undefined)
  const last = times.length > 0 ? instant(Math.max(...times)) : undefined
  const recent = last !== undefined && now < plus(last, LIMITS.resumeWindow.value)
  return new AppError(
    'ERR_RESOURCE_OFFLINE',
    `offline, last seen ${last === undefined ? 'never' : iso(last)}`,
    recent ? { details: { retryAfter: 1 } } : {},
  )
}

async function onlineOf(
  deps: PolicyDeps,
  served: readonly Resource[],
  service: ServiceKind,
): Promise<Online[]> {
  const ids = served.map((resource) => resource.agentId)
  const now = deps.clock.now()
  const seen = await deps.stores.presence.presenceOf(ids, now)
  const online = served.flatMap((resource) => {
    const tunnels = seen.get(resource.agentId)?.tunnels ?? []
    const proxies = tunnels.filter((t) => t.service === service).map((t) => t.lease.address)
    return proxies.length > 0 ? [{ resource, proxies }] : []
  })
  if (online.length === 0) throw offline(seen.values(), now)
  return online.slice(0, LIMITS.routeAgents.value)
}

export function routeRoutes(app: VerbApp, deps: PolicyDeps): void {
  const { clock, cluster, policySigner, stores } = deps

  app.post('/v1/routes', async (c: Ctx) => {
    const caller = await callerOf(deps, c)
    if (caller.kind !== 'user') throw new AppError('ERR_FORBIDDEN', 'routes are for users')
    const { kind, name } = body(c, routeRequest)
    const now = clock.now()
    const served = (await stores.resources.byName(kind, name)).filter(reachOf(caller, now))
    const [first] = served
    if (!first) throw notFound()
    const service = serviceOfResource(kind)
    const online = await onlineOf(deps, served, service)
    const claims: RouteClaims = {
      aud: cluster,
      resource: { kind, name },
      service,
      agents: online.map(({ resource }) => resource.agentId),
      iat: seconds(now),
      exp: seconds(now) + LIMITS.routeTtl.value / 1000,
    }
    const answer: RouteAnswer = {
      route: await jwsSign(policySigner(), { typ: ROUTE_TYP }, claims),
      proxies: [...new Set(online.flatMap(({ proxies }) => proxies))],
      ca_version: deps.cas.now.version,
      ...(first.protocol === undefined ? {} : { protocol: first.protocol }),
    }
    return c.json(answer)
  })
}

/**
 * The checks before a stream is accepted (protocols.md 5): the route is the control plane's word, the offer is the user's, both
 * name this agent, this service and one resource, the offer is used once, and the policy allows it now. The proxy's word counts
 * for nothing. What the service asks inside TLS or SSH comes on top.
 */
import { checkRoute, type CheckedRoute } from '../../core/api/route-check.ts'
import type { Clock } from '../../core/clock.ts'
import { fromSeconds, plus } from '../../core/clock.ts'
import type { ServiceKind } from '../../core/domain/service.ts'
import { serviceOfResource } from '../../core/domain/service.ts'
import { AppError, toAppError } from '../../core/errors.ts'
import { newId, type AgentId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import { verifyOffer, type Offer, type ResourceOpen } from '../../core/tunnel/open.ts'
import type { PolicyKeeper } from '../policy/keeper.ts'
import type { PolicyRefresh } from '../policy/refresh.ts'
import type { AgentService, ServiceStream, UserIdentity } from '../services/service.ts'
import type { ReplayGuard } from './replay.ts'

export interface AdmitOptions {
  readonly cluster: string
  readonly agentId: AgentId
  readonly kind: ServiceKind
  readonly service: Pick<AgentService, 'want'>
  readonly keeper: Pick<PolicyKeeper, 'view' | 'keys' | 'userCas'>
  readonly refresh: Pick<PolicyRefresh, 'doubt'>
  readonly replay: ReplayGuard
  readonly clock: Clock
  readonly random: Random
}

export type Admitted = Omit<ServiceStream, 'duplex'>
export interface Refused {
  readonly ok: false
  /** What the user's side is told. Denied and missing read the same. */
  readonly error: AppError
  /** For the audit log: who, once that was proven. */
  readonly user: string | undefined
  readonly resource: string | undefined
}
export type Admission =
  | {
      readonly ok: true
      readonly stream: Admitted
      readonly offer: Offer
      /** The user's side can resume the stream. */
      readonly resumable: boolean
    }
  | Refused

const denied = (internal: string): AppError =>
  new AppError('ERR_ACCESS_DENIED', undefined, { internal })
const badRoute = (internal: string): AppError =>
  new AppError('ERR_ROUTE_INVALID', undefined, { internal: `route: ${internal}` })
const badOffer = (internal: string): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `offer: ${internal}` })

/** The route of an OPEN, held to be for this agent and this service. Throws ERR_ROUTE_INVALID. */
export async function routeHere(
  open: ResourceOpen,
  options: Pick<AdmitOptions, 'cluster' | 'agentId' | 'kind' | 'keeper' | 'clock'>,
): Promise<CheckedRoute> {
  const { cluster, agentId, kind, keeper, clock } = options
  if (open.kind !== kind) throw badRoute(`stream for service ${open.kind}`)
  const route = await checkRoute(open.route, { cluster, keys: keeper.keys(), now: clock.now() })
  if (!route.agentIds.includes(agentId)) throw badRoute('not for this agent')
  if (route.service !== kind || serviceOfResource(route.resource.kind) !== kind)
    throw badRoute('not for this service')
  return route
}

/** Asks the policy, once more with a newer one before it is a no. Throws ERR_ACCESS_DENIED, the same for missing and denied. */
export async function mayReach(
  user: UserIdentity,
  resource: Admitted['resource'],
  options: Pick<AdmitOptions, 'service' | 'keeper' | 'refresh'>,
): Promise<void> {
  const { service, keeper } = options
  const want = service.want(resource)
  if (!want) throw denied('no such resource here')
  let decision = keeper.view.decide(user, want)
  if (!decision.allow) {
    await options.refresh.doubt()
    decision = keeper.view.decide(user, want)
  }
  if (!decision.allow) throw denied(`${decision.reason}: ${decision.why}`)
}

/** Throws ERR_PROOF_INVALID unless this is seen for the first time. `exp`: epoch seconds. */
export function onlyOnce(replay: ReplayGuard, id: string, exp: number): void {
  const first = replay.first(id, plus(fromSeconds(exp), LIMITS.proofWindow.value))
  if (first !== 'fresh')
    throw badOffer(first === 'seen' ? 'replayed' : 'too many offers to remember')
}

export async function admit(open: ResourceOpen, options: AdmitOptions): Promise<Admission> {
  const { cluster, keeper, replay, clock, random } = options
  let user: UserIdentity | undefined
  let resource: Admitted['resource'] | undefined
  try {
    const route = await routeHere(open, options)
    resource = route.resource
    const now = clock.now()
    const verified = await verifyOffer(open.offer, {
      cluster,
      route: open.route,
      kind: open.kind,
      userCas: keeper.userCas(),
      now,
    })
    user = verified.identity
    const { offer, resumable } = verified
    if (offer.resource.kind !== resource.kind || offer.resource.name !== resource.name)
      throw badOffer('another resource than the route')
    for (const id of [offer.sid, offer.jti]) onlyOnce(replay, id, offer.exp)
    await mayReach(user, resource, options)
    return {
      ok: true,
      stream: {
        sessionId: newId('session', now, random),
        streamId: offer.sid,
        resource,
        identity: user,
        claimedSource: open.peer?.ip,
      },
      offer,
      resumable,
    }
  } catch (e) {
    return refused(e, user, resource)
  }
}

export const refused = (
  e: unknown,
  user: UserIdentity | undefined,
  resource: Admitted['resource'] | undefined,
): Refused => ({
  ok: false,
  error: toAppError(e),
  user: user?.user,
  resource: resource && `${resource.kind}/${resource.name}`,
})

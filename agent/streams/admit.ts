/**
 * The checks before a stream is accepted (protocols.md 5): the route is the control plane's word, the offer is the user's, both
 * name this agent, this service and one resource, the offer is used once, and the policy allows it now. The proxy's word counts
 * for nothing. What the service asks inside TLS or SSH comes on top.
 */
import { checkRoute } from '../../core/api/route-check.ts'
import type { Clock } from '../../core/clock.ts'
import { fromSeconds, plus } from '../../core/clock.ts'
import type { ServiceKind } from '../../core/domain/service.ts'
import { serviceOfResource } from '../../core/domain/service.ts'
import { AppError, toAppError } from '../../core/errors.ts'
import { newId, type AgentId } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import { verifyOffer, type ResourceOpen } from '../../core/tunnel/open.ts'
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
export type Admission =
  | { readonly ok: true; readonly stream: Admitted }
  | {
      readonly ok: false
      /** What the user's side is told. Denied and missing read the same. */
      readonly error: AppError
      /** For the audit log: who, once that was proven. */
      readonly user: string | undefined
      readonly resource: string | undefined
    }

const denied = (internal: string): AppError =>
  new AppError('ERR_ACCESS_DENIED', undefined, { internal })
const badRoute = (internal: string): AppError =>
  new AppError('ERR_ROUTE_INVALID', undefined, { internal: `route: ${internal}` })
const badOffer = (internal: string): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `offer: ${internal}` })

export async function admit(open: ResourceOpen, options: AdmitOptions): Promise<Admission> {
  const { cluster, agentId, kind, service, keeper, replay, clock, random } = options
  let user: UserIdentity | undefined
  let resource: Admitted['resource'] | undefined
  try {
    if (open.kind !== kind) throw badRoute(`stream for service ${open.kind}`)
    const now = clock.now()
    const route = await checkRoute(open.route, { cluster, keys: keeper.keys(), now })
    resource = route.resource
    if (!route.agentIds.includes(agentId)) throw badRoute('not for this agent')
    if (route.service !== kind || serviceOfResource(route.resource.kind) !== kind)
      throw badRoute('not for this service')
    const verified = await verifyOffer(open.offer, {
      cluster,
      route: open.route,
      kind,
      userCas: keeper.userCas(),
      now,
    })
    user = verified.identity
    const { offer } = verified
    if (offer.resource.kind !== resource.kind || offer.resource.name !== resource.name)
      throw badOffer('another resource than the route')
    const until = plus(fromSeconds(offer.exp), LIMITS.proofWindow.value)
    for (const id of [offer.sid, offer.jti]) {
      const first = replay.first(id, until)
      if (first !== 'fresh')
        throw badOffer(first === 'seen' ? 'replayed' : 'too many offers to remember')
    }
    const want = service.want(resource)
    if (!want) throw denied('no such resource here')
    let decision = keeper.view.decide(user, want)
    if (!decision.allow) {
      await options.refresh.doubt()
      decision = keeper.view.decide(user, want)
    }
    if (!decision.allow) throw denied(`${decision.reason}: ${decision.why}`)
    return {
      ok: true,
      stream: {
        sessionId: newId('session', now, random),
        resource,
        identity: user,
        claimedSource: open.peer?.ip,
      },
    }
  } catch (e) {
    return {
      ok: false,
      error: toAppError(e),
      user: user?.user,
      resource: resource && `${resource.kind}/${resource.name}`,
    }
  }
}

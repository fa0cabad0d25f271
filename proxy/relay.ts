/**
 * A user's stream finds its agent. The route says which agents serve the resource; one that is connected here gets the OPEN,
 * and from its answer on the two streams are one. Nothing here decides about access: the agent does, on what is signed.
 */
import type { KeyObject } from 'node:crypto'
import { checkRoute, type CheckedRoute } from '../core/api/route-check.ts'
import { fromSeconds, type Clock } from '../core/clock.ts'
import { findLock, type Lock } from '../core/domain/lock.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import type { AgentId, ConnId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import type { Random } from '../core/random.ts'
import { decodeOpen, encodeOpen, untrustedStream, type ResourceOpen } from '../core/tunnel/open.ts'
import { spliceStreams } from '../core/tunnel/splice.ts'
import type { TunnelStream } from '../core/tunnel/stream.ts'
import type { ProxyCounters } from './counters.ts'
import { firstAnswer } from './first-answer.ts'
import type { Link, Neighbours } from './neighbours.ts'
import type { SiblingLink, Siblings } from './siblings.ts'
import type { AgentTunnel, TunnelRegistry } from './tunnels.ts'

export interface RelayDeps {
  readonly cluster: string
  readonly registry: Pick<TunnelRegistry, 'candidates'>
  readonly siblings: Pick<Siblings, 'reach'>
  readonly neighbours: Pick<Neighbours, 'reach'>
  policyKeys(): readonly KeyObject[]
  locks(): readonly Lock[]
  readonly clock: Clock
  readonly random: Random
  readonly counters: ProxyCounters
  readonly metrics: Pick<Metrics, 'inc'>
  readonly log: Log
}

export interface Caller {
  readonly user: string
  /** Address the user's tunnel came from; handed to the agent as a claim. Of another proxy: as that one claims it. */
  readonly source: string
  /**
   * Who passed it on, if anybody did, so that no stream goes in circles: what another proxy passed on goes to an agent of this
   * proxy or nowhere, what another process of this proxy passed on to an agent here or nowhere.
   */
  readonly passedOn?: 'proxy' | 'sibling'
  /** The tunnel that it came in by; undefined: another process of this proxy has it. */
  readonly connId?: ConnId
}

export interface Relay {
  /** Answers the offered stream, sooner or later. Never rejects. */
  serve(offered: TunnelStream, payload: Buffer, caller: Caller): Promise<void>
}

/** Verified routes are kept: a client uses one for five minutes, and a signature costs as much as all the rest of an open. */
const ROUTES_KEPT = 4096

/** Where a stream can be sent: an agent's tunnel here, another process of this proxy, or another proxy. */
type Way = AgentTunnel | SiblingLink | Link

function readOpen(payload: Buffer): ResourceOpen {
  const open = decodeOpen(payload)
  if (open.kind === 'policy')
    throw new AppError('ERR_INPUT_INVALID', 'kind: only a proxy sends the policy')
  return open
}

export function createRelay(deps: RelayDeps): Relay {
  const { cluster, registry, clock, random, counters, metrics, log } = deps
  const routes = new Map<string, CheckedRoute>()
  let routeKeys: readonly KeyObject[] = []

  async function routeOf(jws: string): Promise<CheckedRoute> {
    const keys = deps.policyKeys()
    if (keys.length !== routeKeys.length || keys.some((key, i) => key !== routeKeys[i])) {
      routes.clear()
      routeKeys = keys
    }
    const kept = routes.get(jws)
    if (kept && clock.now() < fromSeconds(kept.exp)) return kept
    const route = await checkRoute(jws, { cluster, keys, now: clock.now() })
    const oldest = routes.keys().next()
    if (routes.size >= ROUTES_KEPT && !oldest.done) routes.delete(oldest.value)
    routes.set(jws, route)
    return route
  }

  /**
   * Tunnels here that answer, then those of this proxy's other processes, then other proxies, then tunnels here that went silent:
   * in this order they are worth trying.
   */
  async function* ways(
    agentIds: readonly AgentId[],
    service: ServiceKind,
    caller: Caller,
    gone: AbortSignal,
  ): AsyncGenerator<Way, void, undefined> {
    const here = registry.candidates(agentIds, service, random)
    const silent = here.filter((tunnel) => tunnel.suspect)
    yield* here.filter((tunnel) => !tunnel.suspect)
    if (caller.passedOn !== 'sibling') yield* deps.siblings.reach(agentIds, service, gone)
    if (caller.passedOn === undefined) yield* deps.neighbours.reach(agentIds, service, gone)
    yield* silent
  }

  async function relay(
    offered: TunnelStream,
    payload: Buffer,
    caller: Caller,
    gone: AbortSignal,
  ): Promise<void> {
    const open = readOpen(payload)
    const route = await routeOf(open.route)
    if (open.kind !== route.service)
      throw new AppError('ERR_ROUTE_INVALID', undefined, { internal: 'route: another service' })
    const agentIds = route.agentIds.filter(
      (agent) =>
        (open.agent === undefined || open.agent === agent) &&
        !findLock(deps.locks(), { kind: 'agent', agent, service: route.service }, clock.now()),
    )
    const passed = encodeOpen(
      caller.passedOn === undefined ? { ...open, peer: { ip: caller.source } } : open,
    )
    const all = ways(agentIds, route.service, caller, gone)
    const { way, stream: answered } = await firstAnswer(all, passed, gone, {
      clock,
      onRetry: () => {
        counters.streamsRetried += 1
      },
    })
    if (gone.aborted) return answered.reset('ERR_STREAM_RESET', 'the user is gone')
    offered.accept(answered.payload)
    spliceStreams(offered, answered)
    moveWith(way, offered, answered)
    // Counted and told of where it came in.
    if (caller.passedOn === 'sibling') return
    counters.streamsRelayed += 1
    metrics.inc('postern_proxy_streams_relayed_total', { service: route.service })
    const { id, resumed } = untrustedStream(open.offer)
    if (resumed) metrics.inc('postern_proxy_streams_resumed_total')
    // The claimed id is the one that agents write into the audit log once they have verified it.
    log.info('proxy.stream_relayed', {
      stream: id,
      resumed,
      user: caller.user,
      connId: caller.connId,
    })
  }

  /**
   * The agent or the other proxy leaves: the user's side, which it cannot tell, makes a new leg if it can. Others stay while they
   * may.
   */
  function moveWith(way: Way, offered: TunnelStream, answered: TunnelStream): void {
    // An agent that can resume answers with its half of the key, one that cannot without a word.
    if (answered.payload.length === 0) return
    const move = (): void => {
      offered.reset('ERR_TUNNEL_CLOSED')
      answered.reset('ERR_TUNNEL_CLOSED')
    }
    way.onLeaving.add(move)
    const closed = offered.onclose
    offered.onclose = (err) => {
      way.onLeaving.delete(move)
      closed?.(err)
    }
  }

  return {
    async serve(offered, payload, caller) {
      const gone = new AbortController()
      offered.onclose = () => gone.abort(new AppError('ERR_STREAM_RESET'))
      try {
        await relay(offered, payload, caller, gone.signal)
      } catch (e) {
        const error = toAppError(e)
        if (offered.state === 'offered') offered.refuse(error.code, error.message)
        if (caller.passedOn === 'sibling') return
        counters.streamsRefused += 1
        metrics.inc('postern_proxy_streams_refused_total', { code: error.code })
        log.info('proxy.stream_refused', {
          user: caller.user,
          connId: caller.connId,
          code: error.code,
          reason: reasonOf(error),
        })
      }
    },
  }
}

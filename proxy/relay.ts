/**
 * A user's stream finds its agent. The route says which agents serve the resource; one that is connected here gets the OPEN,
 * and from its answer on the two streams are one. Nothing here decides about access: the agent does, on what is signed.
 */
import type { KeyObject } from 'node:crypto'
import { checkRoute, type CheckedRoute } from '../core/api/route-check.ts'
import { fromSeconds, type Clock, type Timer } from '../core/clock.ts'
import { findLock, type Lock } from '../core/domain/lock.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import type { ConnId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import type { Random } from '../core/random.ts'
import { decodeOpen, encodeOpen, untrustedStream, type ResourceOpen } from '../core/tunnel/open.ts'
import { spliceStreams } from '../core/tunnel/splice.ts'
import type { TunnelStream } from '../core/tunnel/stream.ts'
import type { ProxyCounters } from './counters.ts'
import type { AgentTunnel, TunnelRegistry } from './tunnels.ts'

export interface RelayDeps {
  readonly cluster: string
  readonly registry: Pick<TunnelRegistry, 'candidates'>
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
  /** Address the user's tunnel came from; handed to the agent as a claim. */
  readonly source: string
  /** The user's tunnel. */
  readonly connId: ConnId
}

export interface Relay {
  /** Answers the offered stream, sooner or later. Never rejects. */
  serve(offered: TunnelStream, payload: Buffer, caller: Caller): Promise<void>
}

/** Verified routes are kept: a client uses one for five minutes, and a signature costs as much as all the rest of an open. */
const ROUTES_KEPT = 4096

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
   * Calls `silent` when the tunnel shows no life for LIMITS.suspectAfter. The probe, and not the agent's answer, is what counts:
   * an agent may think for a while, a dead one never answers a ping.
   */
  function probe(tunnel: AgentTunnel, silent: () => void): Timer {
    const timer = clock.after(LIMITS.suspectAfter.value, () => {
      tunnel.suspect = true
      silent()
    })
    const alive = (): void => {
      timer.cancel()
      tunnel.suspect = false
    }
    tunnel.session.ping().then(alive, () => undefined)
    return timer
  }

  /** Asks one agent; gives up early when that tunnel is silent and there is another to try. */
  async function ask(
    tunnel: AgentTunnel,
    payload: Buffer,
    isLast: boolean,
    gone: AbortSignal,
  ): Promise<TunnelStream> {
    if (isLast) return tunnel.session.open(payload, gone)
    const silent = new AbortController()
    const timer = probe(tunnel, () => silent.abort(new AppError('ERR_TUNNEL_CLOSED')))
    try {
      return await tunnel.session.open(payload, AbortSignal.any([gone, silent.signal]))
    } finally {
      timer.cancel()
    }
  }

  async function openAgent(
    tunnels: readonly AgentTunnel[],
    payload: Buffer,
    gone: AbortSignal,
  ): Promise<TunnelStream> {
    for (const [i, tunnel] of tunnels.entries()) {
      try {
        return await ask(tunnel, payload, i === tunnels.length - 1, gone)
      } catch (e) {
        // Only a dead tunnel is a reason to ask another agent; what an agent answered stands.
        if (gone.aborted || toAppError(e).code !== 'ERR_TUNNEL_CLOSED') throw e
        counters.streamsRetried += 1
      }
    }
    throw new AppError('ERR_RESOURCE_OFFLINE')
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
    const tunnels = registry.candidates(agentIds, route.service, random)
    const passed = encodeOpen({ ...open, peer: { ip: caller.source } })
    const answered = await openAgent(tunnels, passed, gone)
    if (gone.aborted) return answered.reset('ERR_STREAM_RESET', 'the user is gone')
    offered.accept(answered.payload)
    spliceStreams(offered, answered)
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

  return {
    async serve(offered, payload, caller) {
      const gone = new AbortController()
      offered.onclose = () => gone.abort(new AppError('ERR_STREAM_RESET'))
      try {
        await relay(offered, payload, caller, gone.signal)
      } catch (e) {
        const error = toAppError(e)
        counters.streamsRefused += 1
        metrics.inc('postern_proxy_streams_refused_total', { code: error.code })
        log.info('proxy.stream_refused', {
          user: caller.user,
          connId: caller.connId,
          code: error.code,
          reason: reasonOf(error),
        })
        if (offered.state === 'offered') offered.refuse(error.code, error.message)
      }
    },
  }
}

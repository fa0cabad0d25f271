/**
 * Keeps one service connected: a tunnel to one proxy, and a second one to another as soon as there are two, so that a proxy that
 * dies or leaves is never the only way (protocols.md 7.2). Reports whether streams can be served.
 */
import type { Clock } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { readCertificate } from '../core/certs/x509-read.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import type { Random } from '../core/random.ts'
import type { WindowBudget } from '../core/tunnel/window-budget.ts'
import { dialFirst } from '../net/dial-first.ts'
import { keepConnected, type ConnectionState, type ReconnectHooks } from '../net/reconnect.ts'
import { onNetworkChange } from '../net/network-change.ts'
import { connectTunnel, type ConnectedTunnel } from '../net/tunnel-client.ts'
import type { ClusterFinder } from './cluster.ts'
import type { HeldIdentity } from './identity/store.ts'
import { meterTunnels } from './metrics.ts'
import type { PolicyKeeper } from './policy/keeper.ts'
import type { PolicyRefresh } from './policy/refresh.ts'
import type { ServiceState } from './service-state.ts'
import type { AgentService, ServiceContext } from './services/service.ts'
import { createDispatch } from './streams/dispatch.ts'
import type { ReplayGuard } from './streams/replay.ts'
import { createLegs, type Leg } from './legs.ts'
import { createLookUp } from './look-up.ts'
import { createSamePause } from './same-proxy.ts'
import type { ForwardProxy } from '../net/forward-proxy.ts'

export interface TunnelKeeperDeps {
  readonly kind: ServiceKind
  readonly held: () => HeldIdentity
  readonly service: AgentService
  readonly finder: ClusterFinder
  readonly keeper: PolicyKeeper
  readonly refresh: PolicyRefresh
  readonly replay: ReplayGuard
  readonly budget: WindowBudget
  readonly replayBudget: WindowBudget
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly metrics: Metrics
  readonly httpsProxy: ForwardProxy | undefined
  audit: ServiceContext['audit']
  onState(state: ServiceState): void
}

/** Runs until the signal aborts. */
export async function keepTunnel(deps: TunnelKeeperDeps & { signal: AbortSignal }): Promise<void> {
  const { kind, held, keeper, clock, random, log, signal, finder } = deps
  const { agentId, stored } = held()
  const { cluster } = stored.credentials
  const legs = createLegs()
  const dispatch = createDispatch({
    ...deps,
    cluster,
    agentId,
    identity: held,
    onProxies(count) {
      // More than we know of: where the new ones are is to be asked for.
      if (legs.count(count) && count > proxies.length) lookUps.doubted(count)
    },
  })
  const meter = meterTunnels(deps.metrics, kind, signal)
  let proxies: readonly string[] = stored.credentials.proxies
  let turn = Math.floor(random.float() * 1000)

  function lookUp(): void {
    finder.refresh(signal).then(
      (found) => {
        if (found.proxies.length > 0) proxies = found.proxies
      },
      () => undefined,
    )
  }

  const lookUps = createLookUp<Leg>({ clock, random, signal, ask: lookUp })
  const pauseAtSame = createSamePause({
    random,
    doubted: () => lookUps.doubted(proxies.length + 1),
  })

  function say(error: AppError | undefined): void {
    const at = legs.serving()
    deps.onState(at.length > 0 ? { state: 'online', proxies: at } : { state: 'connecting', error })
  }

  const onState = (leg: Leg) => (state: ConnectionState) => {
    switch (state.state) {
      case 'connecting':
        return
      case 'connected':
        meter.connected(state.tunnel.session)
        log.info('tunnel.connected', { service: kind, proxy: state.tunnel.proxyId })
        leg.stands(state.tunnel.proxyId)
        lookUps.connected(leg, legs.connected().length >= Math.min(2, state.tunnel.liveProxies))
        legs.count(state.tunnel.liveProxies)
        return say(undefined)
      case 'waiting':
        leg.fell()
        // Two legs and one proxy in reach: nothing is lost, and the next look comes by itself.
        if (state.error?.code === 'ERR_TUNNEL_ALREADY_HERE' && legs.connected().length > 0) return
        lookUps.lost(leg, state)
        if (state.leaving) {
          leg.lingers()
          log.info('tunnel.leaving', { service: kind, retry_in_ms: Math.round(state.retryIn) })
          return say(undefined)
        }
        meter.lost(state.error)
        report(state.error, state.retryIn)
        return say(state.error)
      case 'stopped':
    }
  }

  function report(error: AppError | undefined, retryIn: number): void {
    log.warn('tunnel.lost', {
      service: kind,
      code: error?.code,
      message: error?.message,
      reason: error?.internal,
      retry_in_ms: Math.round(retryIn),
    })
  }

  function dial(
    leg: Leg,
    address: string,
    attempt: AbortSignal,
    hooks: ReconnectHooks,
  ): Promise<ConnectedTunnel> {
    const { certificate, signer, stored: now } = held()
    // What joining gave, until the policy tells which CAs are believed now.
    const ca = keeper.cas?.x509 ?? now.credentials.host_ca.x509
    return connectTunnel({
      url: `wss://${address}`,
      // TLS only hides who speaks; the handshake inside proves the proxy to us and us to the proxy.
      trust: { system: true, ca },
      cluster,
      hostCas: ca.map((pem) => readCertificate(pem)),
      identity: { certificate, signer },
      purpose: 'agent',
      accept(proxyId) {
        leg.passedBy(address, proxyId)
        if (legs.heldByOther(leg, proxyId)) throw new AppError('ERR_TUNNEL_ALREADY_HERE')
      },
      clock,
      random,
      budget: deps.budget,
      signal: attempt,
      proxy: deps.httpsProxy,
      onOpen: (stream, payload) => dispatch.onOpen(stream, payload),
      ...hooks,
    })
  }

  async function connect(
    leg: Leg,
    attempt: AbortSignal,
    hooks: ReconnectHooks,
  ): Promise<ConnectedTunnel> {
    // Without a policy every stream would be refused, so there is no point in being online before it is known.
    if (keeper.version === 0) await deps.refresh.now()
    const first = turn++ % Math.max(1, proxies.length)
    const inTurn = [...proxies.slice(first), ...proxies.slice(0, first)]
    const tooLate = new WeakSet<object>()
    const { tunnel } = await dialFirst({
      addresses: legs.sorted(leg, inTurn),
      async dial(address, one) {
        // Only the dial that wins is this leg's tunnel.
        const own = {}
        const mine = (): boolean => !tooLate.has(own)
        return {
          own,
          tunnel: await dial(leg, address, one, {
            onGoAway: (ms) => mine() && hooks.onGoAway(ms),
            onClose: (err) => mine() && hooks.onClose(err),
            onSuspect: (yes) => mine() && hooks.onSuspect(yes),
          }),
        }
      },
      discard({ own, tunnel: late }) {
        tooLate.add(own)
        late.session.close()
      },
      clock,
      signal: attempt,
    })
    if (!legs.heldByOther(leg, tunnel.proxyId)) return tunnel
    // The other leg came to the same proxy meanwhile.
    tunnel.session.close()
    throw new AppError('ERR_TUNNEL_ALREADY_HERE')
  }

  const keep = (leg: Leg): Promise<void> =>
    keepConnected({
      connect: (attempt, hooks) => connect(leg, attempt, hooks),
      clock,
      random,
      signal,
      onState: onState(leg),
      onUncounted: () => leg.fell(),
      covered: () => legs.connected().length > 0,
      onLeft() {
        leg.left()
        say(undefined)
      },
      onDoubt: (fn) => onNetworkChange(clock, fn),
      awaited: () => dispatch.waiting,
      pause: (_attempt, error) => pauseAtSame(leg, error),
    })

  deps.onState({ state: 'connecting', error: undefined })
  await Promise.all([keep(legs.first), legs.several(signal).then(() => keep(legs.second))])
}

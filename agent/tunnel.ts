/** Keeps one service's tunnel up: dials the cluster's proxies in turn, and reports whether streams can be served. */
import type { Clock } from '../core/clock.ts'
import type { AppError } from '../core/errors.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { readCertificate } from '../core/certs/x509-read.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import type { Random } from '../core/random.ts'
import type { WindowBudget } from '../core/tunnel/window-budget.ts'
import { keepConnected, type ConnectionState } from '../net/reconnect.ts'
import { connectTunnel } from '../net/tunnel-client.ts'
import type { ClusterFinder } from './cluster.ts'
import type { HeldIdentity } from './identity/store.ts'
import { meterTunnels } from './metrics.ts'
import type { PolicyKeeper } from './policy/keeper.ts'
import type { PolicyRefresh } from './policy/refresh.ts'
import type { ServiceState } from './service-state.ts'
import type { AgentService, ServiceContext } from './services/service.ts'
import { createDispatch } from './streams/dispatch.ts'
import type { ReplayGuard } from './streams/replay.ts'

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
  readonly httpsProxy: string | undefined
  audit: ServiceContext['audit']
  onState(state: ServiceState): void
}

/** Runs until the signal aborts. */
export async function keepTunnel(deps: TunnelKeeperDeps & { signal: AbortSignal }): Promise<void> {
  const { kind, held, keeper, clock, random, log, signal, finder } = deps
  const { agentId, stored } = held()
  const { cluster } = stored.credentials
  const dispatch = createDispatch({ ...deps, cluster, agentId, identity: held })
  const meter = meterTunnels(deps.metrics, kind, signal)
  let proxies: readonly string[] = stored.credentials.proxies
  let turn = Math.floor(random.float() * 1000)

  function onState(state: ConnectionState): void {
    switch (state.state) {
      case 'connecting':
        return
      case 'connected':
        meter.connected(state.tunnel.session)
        log.info('tunnel.connected', { service: kind, proxy: state.tunnel.proxyId })
        deps.onState({ state: 'online', proxies: [state.tunnel.proxyId] })
        return
      case 'waiting':
        meter.lost(state.error)
        report(state.error, state.retryIn)
        deps.onState({ state: 'connecting', error: state.error })
        // Proxies come and go: a list that leads nowhere is asked for anew.
        finder.refresh(signal).then(
          (found) => {
            if (found.proxies.length > 0) proxies = found.proxies
          },
          () => undefined,
        )
        return
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

  deps.onState({ state: 'connecting', error: undefined })
  await keepConnected({
    async connect(attempt, hooks) {
      // Without a policy every stream would be refused, so there is no point in being online before it is known.
      if (keeper.version === 0) await deps.refresh.now()
      const { certificate, signer, stored: now } = held()
      const proxy = proxies[turn++ % Math.max(1, proxies.length)] ?? ''
      // What joining gave, until the policy tells which CAs are believed now.
      const ca = keeper.cas?.x509 ?? now.credentials.host_ca.x509
      return connectTunnel({
        url: `wss://${proxy}`,
        // TLS only hides who speaks; the handshake inside proves the proxy to us and us to the proxy.
        trust: { system: true, ca },
        cluster,
        hostCas: ca.map((pem) => readCertificate(pem)),
        identity: { certificate, signer },
        purpose: 'agent',
        clock,
        random,
        budget: deps.budget,
        signal: attempt,
        proxy: deps.httpsProxy,
        onOpen: (stream, payload) => dispatch.onOpen(stream, payload),
        ...hooks,
      })
    },
    clock,
    random,
    signal,
    onState,
    awaited: () => dispatch.waiting,
  })
}

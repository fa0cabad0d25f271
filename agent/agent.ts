/**
 * The agent as a whole: the data directory it holds, what its services share (policy, replay guard, window budget), and the
 * services themselves, each started, failed, reloaded and stopped on its own.
 */
import { join } from 'node:path'
import { instant, type Clock } from '../core/clock.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import type { AgentId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import type { Random } from '../core/random.ts'
import { createWindowBudget } from '../core/tunnel/window-budget.ts'
import { createClusterFinder } from './cluster.ts'
import { enabledServices, type AgentConfig } from './config.ts'
import { ensurePrivateDir } from './identity/files.ts'
import { lockDataDir } from './identity/lock.ts'
import { openIdentityStore } from './identity/store.ts'
import type { EvidenceCollector } from './join/collector.ts'
import type { Env } from './env.ts'
import { createCommandLabels } from './labels.ts'
import { exportAgent } from './metrics.ts'
import { createPolicyKeeper } from './policy/keeper.ts'
import { createPolicyRefresh } from './policy/refresh.ts'
import { leaveService } from './leave.ts'
import { checkReload } from './reload.ts'
import { createServing } from './serving.ts'
import { startRunner, type ServiceRunner } from './service-runner.ts'
import { isSettled, type ServiceState, type StateListener } from './service-state.ts'
import { isRunnable, SERVICES, type RunnableKind } from './services/registry.ts'
import { createReplayGuard } from './streams/replay.ts'
import type { ForwardProxy } from '../net/forward-proxy.ts'

export interface AgentDeps {
  readonly config: AgentConfig
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Where this agent counts. */
  readonly metrics: Metrics
  readonly httpsProxy: ForwardProxy | undefined
  /** For PATH of label commands, and what CI systems and clouds tell about themselves. Never handed to sessions. */
  readonly env: Env
}

export interface Agent {
  readonly agentId: AgentId | undefined
  readonly config: AgentConfig
  readonly services: ReadonlyMap<ServiceKind, ServiceState>
  readonly onState: (fn: StateListener) => () => void
  readonly settled: (signal?: AbortSignal) => Promise<void>
  reload(config: AgentConfig): Promise<void>
  stop(): Promise<void>
}

/** The kinds that are enabled and that this version runs. */
const wanted = (config: AgentConfig): RunnableKind[] => enabledServices(config).filter(isRunnable)

export async function createAgent(deps: AgentDeps): Promise<Agent> {
  const { clock: machineClock, random, log, metrics, httpsProxy } = deps
  let config = deps.config
  const { dataDir } = config
  await ensurePrivateDir(dataDir)
  const lock = await lockDataDir(dataDir, random)
  const abort = new AbortController()
  const runners = new Map<RunnableKind, ServiceRunner>()
  const states = new Map<ServiceKind, ServiceState>()
  const listeners = new Set<StateListener>()

  /** Signed requests find out how far the machine's clock is off; certificates and policies are judged by the corrected one. */
  const offset = (): number => {
    for (const { api } of runners.values()) if (api && api.clockOffset !== 0) return api.clockOffset
    return 0
  }
  const clock: Clock = { ...machineClock, now: () => instant(machineClock.now() + offset()) }

  /** Live: a reload may bring another token. */

  const store = await openIdentityStore(dataDir, random)
  const keeper = createPolicyKeeper({ dataDir, clock, random, log })
  try {
    await needToken()
    await keeper.load()
  } catch (e) {
    await lock.release()
    throw e
  }
  const refresh = createPolicyRefresh({
    keeper,
    api: () => [...runners.values()].find((runner) => runner.api)?.api,
    clock,
    random,
    log,
    signal: abort.signal,
  })
  const finder = createClusterFinder({
    dataDir,
    proxyServer: config.proxyServer,
    caPins: config.caPins,
    clock: machineClock,
    random,
    httpsProxy,
    learnt: keeper,
    log,
  })
  const shared = {
    finder,
    keeper,
    refresh,
    store,
    replay: createReplayGuard(clock),
    budget: createWindowBudget(),
    replayBudget: createWindowBudget(LIMITS.replayProcess.value),
    clock,
    machineClock,
    random,
    log,
    metrics,
    httpsProxy,
  }
  const labels = createCommandLabels({
    clock,
    log,
    path: deps.env['PATH'],
    onChange: () => {
      runners.get('ssh')?.changed(false)
      keeper.recheck()
    },
  })

  async function collector(kind: RunnableKind): Promise<EvidenceCollector> {
    const { env } = deps
    const { collectorFor } = await import('./join/collectors.ts')
    return collectorFor(config.join, { service: kind, dataDir, env, clock, random, httpsProxy })
  }

  /** Without any identity and without a token there is nothing to start: said at once, not in a log. A file may still come. */
  async function needToken(): Promise<void> {
    for (const kind of wanted(config)) if (await store.load(kind)) return
    const [first] = wanted(config)
    if (!first) return
    await collector(first)
      .then((found) => found.handle())
      .catch((e: unknown) => {
        const { code, message } = toAppError(e)
        if (code !== 'ERR_TOKEN_AWAITED') throw e
        log.warn('agent.token_awaited', { message, for_s: LIMITS.tokenAwait.value / 1000 })
      })
  }

  const serving = createServing({
    config: () => config,
    commandLabels: () => labels.values(),
    held: (kind) => runners.get(kind)?.held,
    keeper,
    clock,
    random,
    log,
  })

  function setState(kind: RunnableKind, state: ServiceState): void {
    states.set(kind, state)
    for (const fn of listeners)
      try {
        fn(kind, state)
      } catch (e) {
        log.error('agent.listener_failed', { reason: reasonOf(e) })
      }
  }

  function start(kind: RunnableKind): void {
    states.set(kind, { state: 'joining', error: undefined })
    const runner = startRunner({
      ...shared,
      kind,
      nodeName: config.nodeName,
      serviceDir: join(dataDir, kind),
      collector: () => collector(kind),
      createService: (parts) => serving.createService(kind, parts),
      announced: () => serving.announced(kind),
      onState: (state) => setState(kind, state),
      onIdentity: ({ agentId, stored }) =>
        keeper.anchor({
          cluster: stored.credentials.cluster,
          agentId,
          keys: stored.credentials.policy_keys,
        }),
    })
    runners.set(kind, runner)
  }

  async function end(kind: RunnableKind): Promise<void> {
    await runners.get(kind)?.stop()
    runners.delete(kind)
  }

  /** Once for each service at a time. */
  const leaving = new Map<ServiceKind, Promise<void>>()
  function leaveUnwanted(): void {
    for (const kind of Object.keys(SERVICES) as RunnableKind[]) {
      if (wanted(config).includes(kind) || leaving.has(kind)) continue
      const stillGone = () => !wanted(config).includes(kind)
      const left = leaveService(kind, { ...shared, stillGone, signal: abort.signal })
      leaving.set(
        kind,
        left.finally(() => leaving.delete(kind)),
      )
    }
  }

  for (const kind of wanted(config)) start(kind)
  leaveUnwanted()
  const uncount = exportAgent(metrics, {
    states,
    held: (kind) => (isRunnable(kind) ? runners.get(kind)?.held : undefined),
    keeper,
    clockOffset: offset,
  })
  labels.update(config.ssh?.commands ?? [])
  const refreshing = refresh.run()
  let stopped: Promise<void> | undefined

  async function shutDown(): Promise<void> {
    labels.stop()
    await Promise.all([...runners.keys()].map(end))
    abort.abort(new AppError('ERR_TUNNEL_CLOSED', 'the agent stops'))
    await refreshing
    await Promise.all(leaving.values())
    await keeper.saved()
    await lock.release()
    uncount()
    log.info('agent.stopped')
  }

  return {
    get agentId() {
      return [...runners.values()].find((runner) => runner.held)?.held?.agentId
    },
    get config() {
      return config
    },
    services: states,

    onState(fn) {
      listeners.add(fn)
      return () => void listeners.delete(fn)
    },

    settled(signal) {
      return new Promise((resolve, reject) => {
        const done = (): boolean =>
          wanted(config).every((k) => isSettled(states.get(k) ?? { state: 'stopped' }))
        const finish = (settle: () => void): void => {
          listeners.delete(check)
          signal?.removeEventListener('abort', onAbort)
          settle()
        }
        const check = (): void => {
          if (done()) finish(resolve)
        }
        const onAbort = (): void => finish(() => reject(signal?.reason as Error))
        if (signal?.aborted) return onAbort()
        listeners.add(check)
        signal?.addEventListener('abort', onAbort, { once: true })
        check()
      })
    },

    async reload(next) {
      if (stopped) return
      checkReload(config, next)
      const before = wanted(config)
      config = next
      const now = wanted(next)
      labels.update(next.ssh?.commands ?? [])
      for (const kind of before)
        if (!now.includes(kind)) {
          await end(kind)
          states.delete(kind)
        }
      leaveUnwanted()
      for (const kind of now) {
        await leaving.get(kind)
        // A service that had failed gets another chance: the reload may have brought a better token.
        if (states.get(kind)?.state === 'failed') await end(kind)
        if (runners.has(kind)) runners.get(kind)?.changed(true)
        else start(kind)
      }
      keeper.recheck()
      log.info('agent.reloaded', { services: now })
    },

    stop: () => (stopped ??= shutDown()),
  }
}

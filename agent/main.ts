/**
 * The agent: one process on a machine that dials out and serves what its configuration names. `startAgent` is what
 * `postern agent start` and `postern up` call.
 */
import { systemClock, type Clock } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import type { AgentId } from '../core/ids.ts'
import { systemRandom, type Random } from '../core/random.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { createAgent } from './agent.ts'
import { loadAgentConfig } from './config-file.ts'
import type { AgentConfig } from './config.ts'
import { forwardProxy } from '../net/forward-proxy.ts'
import { openAgentDiagnostics } from './diagnostics.ts'
import { createLog } from './log.ts'
import type { ServiceState } from './service-state.ts'
import type { Log } from '../core/log.ts'
import { createMetrics, type Metrics } from '../core/metrics/metrics.ts'

export type { AgentConfig } from './config.ts'

export type { ServiceState } from './service-state.ts'

export interface StartAgentOptions {
  /** A file, re-read by `reload()`; or a ready configuration (`reload()` then needs another one). */
  readonly configPath?: string
  readonly config?: AgentConfig
  readonly clock?: Clock
  readonly random?: Random
  /** Where it counts; default: one of its own, which `diag_addr` shows. */
  readonly metrics?: Metrics
  /** Default: what the configuration's `log` asks for. */
  readonly log?: Log
  /** For HTTPS_PROXY, PATH of label commands and evidence of join methods; never handed to sessions. Default: this process's. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Aborting it stops the agent, as `stop()` does. */
  readonly signal?: AbortSignal
}

export interface RunningAgent {
  /** Known once the first service has joined. */
  readonly agentId: AgentId | undefined
  readonly config: AgentConfig
  readonly services: ReadonlyMap<ServiceKind, ServiceState>
  /** Calls `fn` on every change of a service's state. Returns the unsubscribe. */
  onState(fn: (kind: ServiceKind, state: ServiceState) => void): () => void
  /** Resolves when every enabled service is online or failed; rejects with the signal's reason. */
  settled(signal?: AbortSignal): Promise<void>
  /**
   * Takes up labels, commands, apps and services that changed, without touching what did not. A wrong file throws
   * ERR_CONFIG_INVALID and changes nothing. The command wires SIGHUP to this.
   */
  reload(config?: AgentConfig): Promise<void>
  /** Ends sessions, closes tunnels, keeps unsent audit events on disk, frees the data directory. Idempotent. */
  stop(): Promise<void>
}

/**
 * Resolves as soon as the data directory is held and the services have begun; joining and dialling go on behind it. Throws
 * ERR_CONFIG_INVALID, ERR_DATA_DIR_HELD, ERR_DATA_DIR_UNSAFE, ERR_ADDRESS_UNUSABLE (diag_addr), and ERR_TOKEN_NEEDED when no service has an identity and
 * there is no token to get one.
 */
export async function startAgent(options: StartAgentOptions): Promise<RunningAgent> {
  const { configPath, signal, clock = systemClock, random = systemRandom } = options
  const env = options.env ?? process.env
  const read = async (): Promise<AgentConfig> => {
    if (configPath === undefined)
      throw new AppError('ERR_USAGE', 'this agent was started without a configuration file')
    return loadAgentConfig(configPath)
  }
  const config = options.config ?? (await read())
  const log = options.log ?? createLog(config.log, clock)
  const metrics = options.metrics ?? createMetrics()
  const agent = await createAgent({
    config,
    clock,
    random,
    log,
    metrics,
    httpsProxy: forwardProxy(env),
    env,
  })
  const diagnostics = await openAgentDiagnostics(config, { agent, metrics, clock, log }).catch(
    async (e: unknown) => {
      await agent.stop()
      throw e
    },
  )
  const end = async (): Promise<void> => {
    await diagnostics?.close()
    await agent.stop()
  }
  const stop = (): void => void end()
  if (signal?.aborted) stop()
  else signal?.addEventListener('abort', stop, { once: true })
  return {
    get agentId() {
      return agent.agentId
    },
    get config() {
      return agent.config
    },
    services: agent.services,
    onState: agent.onState,
    settled: agent.settled,
    reload: async (given) => agent.reload(given ?? (await read())),
    stop: () => {
      signal?.removeEventListener('abort', stop)
      return end()
    },
  }
}

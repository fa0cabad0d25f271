/** `diag_addr`: the agent's metrics and health at an address of its own. Loaded only by an agent that has one. */
import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import type { Diagnostics, Health } from '../net/diagnostics.ts'
import type { Agent } from './agent.ts'
import type { AgentConfig } from './config.ts'

const LOOPBACK = /^(127\.|::1$|localhost$)/

/** Ready: every enabled service is online, so that users can reach all that this agent serves. */
function readiness({ services }: Pick<Agent, 'services'>): Health {
  const states = Object.fromEntries([...services].map(([kind, { state }]) => [kind, state]))
  const ok = services.size > 0 && [...services.values()].every(({ state }) => state === 'online')
  return { ok, facts: { services: states } }
}

/** Rejects with ERR_ADDRESS_UNUSABLE. */
export async function openAgentDiagnostics(
  config: Pick<AgentConfig, 'diag'>,
  deps: {
    readonly agent: Agent
    readonly metrics: Metrics
    readonly clock: Clock
    readonly log: Log
  },
): Promise<Diagnostics | undefined> {
  const { agent, metrics, clock, log } = deps
  if (!config.diag) return undefined
  const [{ openDiagnostics }, { watchProcess }] = await Promise.all([
    import('../net/diagnostics.ts'),
    import('../net/process-metrics.ts'),
  ])
  const opened = await openDiagnostics({
    ...config.diag,
    page: () => metrics.render(),
    healthy: () => ({ ok: true, facts: {} }),
    ready: () => readiness(agent),
  })
  const unwatch = watchProcess(metrics, clock)
  const { host, port } = opened
  log.info('diagnostics.listening', { host, port })
  if (!LOOPBACK.test(host))
    log.warn('diagnostics.public', { host, hint: 'others can read the metrics; use 127.0.0.1' })
  return {
    ...opened,
    close() {
      unwatch()
      return opened.close()
    },
  }
}

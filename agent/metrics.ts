/** What the agent counts: its services' states, its tunnels, its policy. Numbers are gathered when somebody asks for them. */
import type { ServiceKind } from '../core/domain/service.ts'
import type { AppError } from '../core/errors.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import type { Session, SessionStats } from '../core/tunnel/session.ts'
import type { HeldIdentity } from './identity/store.ts'
import type { PolicyKeeper } from './policy/keeper.ts'
import type { ServiceState } from './service-state.ts'

/** Follows the tunnels of one service. */
export interface TunnelMeter {
  connected(session: Session): void
  /** Lost, or not reached at all; no error: it ended in good order. */
  lost(error: AppError | undefined): void
}

type Totals = Pick<SessionStats, 'bytesIn' | 'bytesOut' | 'stalls'>
const sum = (a: Totals, b: Totals): Totals => ({
  bytesIn: a.bytesIn + b.bytesIn,
  bytesOut: a.bytesOut + b.bytesOut,
  stalls: a.stalls + b.stalls,
})

export function meterTunnels(
  metrics: Metrics,
  service: ServiceKind,
  signal: AbortSignal,
): TunnelMeter {
  const open = new Set<Session>()
  let past: Totals = { bytesIn: 0, bytesOut: 0, stalls: 0 }

  function settle(): void {
    for (const session of open)
      if (session.closed) {
        open.delete(session)
        past = sum(past, session.stats)
      }
  }
  const forget = metrics.collect((set) => {
    settle()
    const sessions = [...open]
    const { bytesIn, bytesOut, stalls } = sessions.map((s) => s.stats).reduce(sum, past)
    set('postern_agent_tunnels', sessions.length, { service })
    set(
      'postern_agent_streams',
      sessions.reduce((n, s) => n + s.streams, 0),
      { service },
    )
    set('postern_agent_tunnel_bytes_total', bytesIn, { service, direction: 'in' })
    set('postern_agent_tunnel_bytes_total', bytesOut, { service, direction: 'out' })
    set('postern_agent_window_stalls_total', stalls, { service })
  })
  signal.addEventListener('abort', forget, { once: true })

  return {
    connected(session) {
      settle()
      open.add(session)
      metrics.inc('postern_agent_connects_total', { service })
    },
    lost(error) {
      metrics.inc('postern_agent_disconnects_total', { service, code: error?.code ?? 'ok' })
    },
  }
}

const STATES: readonly ServiceState['state'][] = [
  'joining',
  'connecting',
  'online',
  'failed',
  'stopped',
]

export interface AgentFacts {
  readonly states: ReadonlyMap<ServiceKind, ServiceState>
  held(kind: ServiceKind): HeldIdentity | undefined
  readonly keeper: Pick<PolicyKeeper, 'version' | 'age'>
  /** Milliseconds. */
  clockOffset(): number
}

/** Answers the function that ends it. */
export const exportAgent = (metrics: Metrics, facts: AgentFacts): (() => void) =>
  metrics.collect((set) => {
    for (const [service, { state: now }] of facts.states) {
      for (const state of STATES)
        set('postern_agent_service_state', state === now ? 1 : 0, { service, state })
      const held = facts.held(service)
      if (held) set('postern_agent_identity_expires_seconds', held.expires / 1000, { service })
    }
    set('postern_agent_policy_version', facts.keeper.version)
    set('postern_agent_policy_age_seconds', facts.keeper.age() / 1000)
    set('postern_agent_clock_offset_seconds', facts.clockOffset() / 1000)
  })

/** What the proxy keeps count of anyway, as metrics. */
import type { Metrics } from '../core/metrics/metrics.ts'
import type { ProxyState, ProxyStats } from './counters.ts'

const STATES: readonly ProxyState[] = ['starting', 'serving', 'leaseless', 'draining', 'closed']

/** Answers the function that ends it. */
export const exportStats = (metrics: Metrics, stats: () => ProxyStats): (() => void) =>
  metrics.collect((set) => {
    const now = stats()
    for (const state of STATES) set('postern_proxy_state', state === now.state ? 1 : 0, { state })
    set('postern_proxy_tunnels', now.agentTunnels, { kind: 'agent' })
    set('postern_proxy_tunnels', now.userTunnels, { kind: 'user' })
    set('postern_proxy_streams', now.streams)
    set('postern_proxy_handshakes_pending', now.handshakesPending)
    set('postern_proxy_streams_retried_total', now.streamsRetried)
    set('postern_proxy_tunnel_bytes_total', now.bytesIn, { direction: 'in' })
    set('postern_proxy_tunnel_bytes_total', now.bytesOut, { direction: 'out' })
    set('postern_proxy_window_stalls_total', now.stalls)
    set('postern_proxy_lease_age_seconds', now.leaseAge / 1000)
    set('postern_proxy_lease_failures_total', now.leaseFailures)
    set('postern_proxy_live_proxies', now.liveProxies)
    set('postern_proxy_policy_version', now.policyVersion)
    set('postern_proxy_policy_age_seconds', now.policyAge / 1000)
    set('postern_proxy_policy_failures_total', now.policyFailures)
    set('postern_proxy_policy_pushes_total', now.policyPushes)
    set('postern_proxy_presence_writes_total', now.presenceWrites)
    set('postern_proxy_presence_failures_total', now.presenceFailures)
    set('postern_proxy_locks_enforced_total', now.tunnelsCut)
  })

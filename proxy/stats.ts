/** Everything that a proxy counts, at one moment: its counters, and what its open tunnels have moved so far. */
import type { ProxyCounters, ProxyState, ProxyStats } from './counters.ts'
import type { Lease } from './lease.ts'
import type { PolicyFeed } from './policy-feed.ts'
import type { TunnelRegistry } from './tunnels.ts'

export function proxyStats(of: {
  readonly counters: ProxyCounters
  readonly registry: TunnelRegistry
  readonly lease: Lease
  readonly feed: PolicyFeed
  readonly state: ProxyState
  readonly handshakesPending: number
}): ProxyStats {
  const { counters, registry, lease, feed } = of
  let streams = 0
  let { bytesIn, bytesOut, stalls } = counters
  for (const { session } of registry.all()) {
    const own = session.stats
    streams += session.streams
    bytesIn += own.bytesIn
    bytesOut += own.bytesOut
    stalls += own.stalls
  }
  return {
    ...counters,
    bytesIn,
    bytesOut,
    stalls,
    state: of.state,
    agentTunnels: registry.agentCount,
    userTunnels: registry.userCount,
    handshakesPending: of.handshakesPending,
    streams,
    policyVersion: feed.known?.policy.version ?? 0,
    liveProxies: lease.liveProxies,
    leaseAge: lease.age,
    policyAge: feed.age,
  }
}

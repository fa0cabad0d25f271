/** What the proxy counts. Plain numbers that only grow, but for the gauges; metrics.ts turns them into text. */

export interface ProxyCounters {
  /** Upgrades refused with HTTP, before any handshake. */
  upgradesRefused: number
  /** Handshakes that failed or were refused. */
  handshakesRefused: number
  tunnelsOpened: number
  tunnelsClosed: number
  /** Tunnels closed because a lock struck their identity. */
  tunnelsCut: number
  streamsRelayed: number
  streamsRefused: number
  /** Relays that went to another agent because the first tunnel was dead or suspect. */
  streamsRetried: number
  policyPushes: number
  policyFailures: number
  presenceWrites: number
  presenceFailures: number
  leaseFailures: number
  /** Of tunnels that are over; those that are open are added when somebody asks. */
  bytesIn: number
  bytesOut: number
  stalls: number
}

export type ProxyState = 'starting' | 'serving' | 'leaseless' | 'draining' | 'closed'

export interface ProxyStats extends Readonly<ProxyCounters> {
  readonly state: ProxyState
  readonly agentTunnels: number
  readonly userTunnels: number
  readonly handshakesPending: number
  readonly streams: number
  /** Version of the policy in force here; 0 before the first. */
  readonly policyVersion: number
  /** Proxies of the cluster, this one included. */
  readonly liveProxies: number
  /** Milliseconds since the lease was renewed, and since the control plane vouched for the policy; Infinity before the first. */
  readonly leaseAge: number
  readonly policyAge: number
}

export const newCounters = (): ProxyCounters => ({
  upgradesRefused: 0,
  handshakesRefused: 0,
  tunnelsOpened: 0,
  tunnelsClosed: 0,
  tunnelsCut: 0,
  streamsRelayed: 0,
  streamsRefused: 0,
  streamsRetried: 0,
  policyPushes: 0,
  policyFailures: 0,
  presenceWrites: 0,
  presenceFailures: 0,
  leaseFailures: 0,
  bytesIn: 0,
  bytesOut: 0,
  stalls: 0,
})

/**
 * Every metric of the system in one place: docs/metrics.md is generated from this file, and a name that is not here cannot be
 * counted. Names follow the Prometheus conventions (base units, `_total` for counters). A label's values come from our own
 * tables or are few by design; what a peer sends never becomes a label.
 */
export type MetricType = 'counter' | 'gauge' | 'histogram'

export interface MetricKind {
  readonly type: MetricType
  /** One line, as Prometheus shows it. */
  readonly help: string
  readonly labels: readonly string[]
  /** Upper bounds of a histogram, ascending; +Inf is added. */
  readonly buckets?: readonly number[] | undefined
  /** What several processes of one part together show; counters and histograms are summed. Default of a gauge: max. */
  readonly together?: 'sum' | 'min' | 'max' | undefined
}

const of =
  <const T extends MetricType>(type: T) =>
  <const L extends readonly string[] = readonly []>(
    help: string,
    labels?: L,
    together?: MetricKind['together'],
  ) => ({
    type,
    help,
    labels: labels ?? ([] as unknown as L),
    together,
  })
const counter = of('counter')
const gauge = of('gauge')
/** A gauge of which each process has its part. */
const part = <const L extends readonly string[] = readonly []>(help: string, labels?: L) =>
  gauge(help, labels, 'sum')
const histogram = <const L extends readonly string[] = readonly []>(
  buckets: readonly number[],
  help: string,
  labels?: L,
) => ({ ...of('histogram')(help, labels), buckets })

/** Seconds, from a local answer to the longest deadline. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const

export const METRICS = {
  // Every process
  postern_build_info: gauge('Always 1; the labels say which version runs.', ['version', 'node']),
  process_resident_memory_bytes: part('Resident memory of the process.'),
  process_cpu_seconds_total: counter('CPU time of the process, user and system.'),
  process_start_time_seconds: gauge('When the process started, Unix time.', [], 'min'),
  process_open_fds: part('Open file descriptors.'),
  nodejs_eventloop_lag_max_seconds: gauge(
    'Longest time the event loop was late since the last look.',
  ),

  // Proxy
  postern_proxy_state: gauge('1 for the state that the proxy is in, 0 for the others.', ['state']),
  postern_proxy_tunnels: part('Open tunnels, by who dialled.', ['kind']),
  postern_proxy_streams: part('Open streams over all tunnels; a relayed stream counts twice.'),
  postern_proxy_tunnels_opened_total: counter('Tunnels that passed the handshake.', ['kind']),
  postern_proxy_tunnels_closed_total: counter(
    'Tunnels that ended, and why (`ok`: in good order).',
    ['kind', 'code'],
  ),
  postern_proxy_upgrades_refused_total: counter(
    'Upgrades refused with plain HTTP, before any handshake.',
    ['code'],
  ),
  postern_proxy_handshakes_refused_total: counter('Handshakes that failed or were refused.', [
    'code',
  ]),
  postern_proxy_handshakes_pending: part('Handshakes in progress.'),
  postern_proxy_handshake_seconds: histogram(
    SECONDS,
    'From the HTTP upgrade to an open tunnel, for those that succeeded.',
  ),
  postern_proxy_streams_relayed_total: counter('Streams joined to an agent.', ['service']),
  postern_proxy_streams_resumed_total: counter('Of those, streams that came back after a break.'),
  postern_proxy_streams_refused_total: counter('Streams that found no agent or were refused.', [
    'code',
  ]),
  postern_proxy_streams_retried_total: counter(
    'Streams asked of another tunnel because the first was dead or silent.',
  ),
  postern_proxy_tunnel_bytes_total: counter('Bytes of tunnels, framing included, TLS not.', [
    'direction',
  ]),
  postern_proxy_window_stalls_total: counter('How often a stream had bytes to send and no credit.'),
  postern_proxy_lease_age_seconds: gauge(
    'Time since the lease was last renewed; +Inf before that.',
  ),
  postern_proxy_lease_failures_total: counter('Renewals of the lease that failed.'),
  postern_proxy_live_proxies: gauge('Proxies of the cluster that hold a lease, this one included.'),
  postern_proxy_policy_version: gauge(
    'Version of the policy in force here; 0 before the first.',
    [],
    'min',
  ),
  postern_proxy_policy_age_seconds: gauge(
    'Time since the control plane last vouched for the policy; +Inf before the first.',
  ),
  postern_proxy_policy_failures_total: counter('Reads of the policy or its version that failed.'),
  postern_proxy_policy_pushes_total: counter('Policies and stamps sent to agents.'),
  postern_proxy_presence_writes_total: counter('Tunnel rows written to the table.'),
  postern_proxy_presence_failures_total: counter('Writes of tunnel rows that failed.'),
  postern_proxy_locks_enforced_total: counter('Tunnels cut because a lock struck their identity.'),
  postern_proxy_workers: gauge('Worker processes that serve now; 1 when it is one process.'),
  postern_proxy_worker_restarts_total: counter(
    'Worker processes that ended and were started again.',
  ),

  // Agent
  postern_agent_service_state: gauge('1 for the state that the service is in, 0 for the others.', [
    'service',
    'state',
  ]),
  postern_agent_tunnels: gauge('Open tunnels to proxies.', ['service']),
  postern_agent_connects_total: counter('Tunnels that came up, the first and every reconnect.', [
    'service',
  ]),
  postern_agent_disconnects_total: counter(
    'Tunnels lost, and dials that failed, by why (`ok`: in good order).',
    ['service', 'code'],
  ),
  postern_agent_streams: gauge('Open streams over all tunnels.', ['service']),
  postern_agent_tunnel_bytes_total: counter('Bytes of tunnels, framing included, TLS not.', [
    'service',
    'direction',
  ]),
  postern_agent_window_stalls_total: counter(
    'How often a stream had bytes to send and no credit.',
    ['service'],
  ),
  postern_agent_streams_admitted_total: counter('Streams of users that were let in.', ['service']),
  postern_agent_streams_refused_total: counter('Streams of users that were refused.', [
    'service',
    'code',
  ]),
  postern_agent_streams_resumed_total: counter('Streams that went on over another connection.', [
    'service',
  ]),
  postern_agent_policy_version: gauge('Version of the policy in force; 0 when there is none.'),
  postern_agent_policy_age_seconds: gauge(
    'Time since the policy was last known to be the newest; +Inf when there is none.',
  ),
  postern_agent_identity_expires_seconds: gauge('End of the certificate, Unix time.', ['service']),
  postern_agent_clock_offset_seconds: gauge('Clock of the control plane minus ours.'),

  // Control plane, where it runs as a process
  postern_api_requests_total: counter('Answered requests.', ['method', 'route', 'status']),
  postern_api_request_seconds: histogram(SECONDS, 'Time to answer a request.', ['route']),
} as const

export type MetricName = keyof typeof METRICS
/** The labels that a metric must be given, all of them. */
export type LabelsOf<N extends MetricName> = Readonly<
  Record<(typeof METRICS)[N]['labels'][number], string>
>

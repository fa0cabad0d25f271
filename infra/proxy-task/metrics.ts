/** Reads what the proxy counts and hands it to CloudWatch, as a line of the log in the embedded metric format. */

const NAMESPACE = 'Postern'

/** CloudWatch metric, the proxy's own (Prometheus), and its unit. Auto scaling and alarms look at these. */
export const METRICS = [
  ['Tunnels', 'postern_proxy_tunnels', 'Count'],
  ['PolicyAge', 'postern_proxy_policy_age_seconds', 'Seconds'],
] as const

/** Sum over all label sets of a metric in the Prometheus text format; undefined when it is not there. */
export function valueOf(text: string, name: string): number | undefined {
  let sum: number | undefined
  for (const line of text.split('\n')) {
    if (!line.startsWith(name)) continue
    const rest = line.slice(name.length)
    const value = /^(?:\{[^}]*\})?\s+([0-9.eE+-]+)/.exec(rest)?.[1]
    if (value !== undefined && Number.isFinite(Number(value))) sum = (sum ?? 0) + Number(value)
  }
  return sum
}

/** https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html */
export function metricLine(text: string, cluster: string, ready: boolean, now: number): string {
  const found = METRICS.flatMap(([name, source, unit]) => {
    const value = valueOf(text, source)
    return value === undefined ? [] : [{ name, unit, value }]
  })
  const all = [...found, { name: 'Ready', unit: 'Count', value: ready ? 1 : 0 }]
  return JSON.stringify({
    _aws: {
      Timestamp: now,
      CloudWatchMetrics: [
        {
          Namespace: NAMESPACE,
          Dimensions: [['Cluster']],
          Metrics: all.map(({ name, unit }) => ({ Name: name, Unit: unit })),
        },
      ],
    },
    Cluster: cluster,
    ...Object.fromEntries(all.map(({ name, value }) => [name, value])),
  })
}

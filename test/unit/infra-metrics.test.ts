// What a proxy's task hands to CloudWatch is what the proxy counted.
import { expect, test } from 'vitest'
import { metricLine, METRICS, valueOf } from '../../infra/proxy-task/metrics.ts'
import { METRICS as TABLE } from '../../core/metrics/table.ts'

const TEXT = `# HELP postern_proxy_tunnels Open tunnels, by who dialled.
# TYPE postern_proxy_tunnels gauge
postern_proxy_tunnels{kind="agent"} 40
postern_proxy_tunnels{kind="user"} 2
postern_proxy_tunnels_opened_total{kind="agent"} 99
postern_proxy_policy_age_seconds 1.5e0
`

test('sums over label sets, and takes no longer name for a shorter one', () => {
  expect(valueOf(TEXT, 'postern_proxy_tunnels')).toBe(42)
  expect(valueOf(TEXT, 'postern_proxy_policy_age_seconds')).toBe(1.5)
  expect(valueOf(TEXT, 'postern_proxy')).toBeUndefined()
})

test('a line in the embedded metric format names only what is in it', () => {
  const line = JSON.parse(metricLine(TEXT, 'example', true, 1_800_000_000_000)) as {
    _aws: { CloudWatchMetrics: { Metrics: { Name: string }[]; Dimensions: string[][] }[] }
  }
  expect(line).toMatchObject({ Cluster: 'example', Tunnels: 42, PolicyAge: 1.5, Ready: 1 })
  const [directive] = line._aws.CloudWatchMetrics
  expect(directive?.Dimensions).toEqual([['Cluster']])
  expect(directive?.Metrics.map((metric) => metric.Name)).toEqual(['Tunnels', 'PolicyAge', 'Ready'])
  expect(metricLine('', 'example', false, 0)).not.toContain('Tunnels')
})

test('the proxy has every metric that is handed on', () => {
  for (const [, source] of METRICS) expect(Object.keys(TABLE)).toContain(source)
})

// The text that Prometheus reads, held against its own parser, and a table that cannot drift from the docs and the alerts.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { LIMITS } from '../../../core/limits.ts'
import { createMetrics, renderDump } from '../../../core/metrics/metrics.ts'
import { counted, together } from '../../../core/metrics/together.ts'
import { METRICS, type MetricKind, type MetricName } from '../../../core/metrics/table.ts'
import { sources } from '../../architecture/sources.ts'
import { missing, peer } from '../../support/peers.ts'

const names = Object.keys(METRICS) as MetricName[]

test('counters add up by label, gauges show what the last collector set', () => {
  const metrics = createMetrics()
  let tunnels = 3
  metrics.collect((set) => set('postern_proxy_tunnels', tunnels, { kind: 'agent' }))
  metrics.inc('postern_proxy_handshakes_refused_total', { code: 'ERR_LOCKED' })
  metrics.inc('postern_proxy_handshakes_refused_total', { code: 'ERR_LOCKED' })
  metrics.inc('postern_proxy_handshakes_refused_total', { code: 'ERR_TIMEOUT' })
  tunnels = 4
  const text = metrics.render()
  expect(text).toContain('postern_proxy_tunnels{kind="agent"} 4\n')
  expect(text).toContain('postern_proxy_handshakes_refused_total{code="ERR_LOCKED"} 2\n')
  expect(text).toContain('postern_proxy_handshakes_refused_total{code="ERR_TIMEOUT"} 1\n')
  expect(text).not.toContain('postern_agent_')
})

test('a histogram is cumulative and ends with +Inf, sum and count', () => {
  const metrics = createMetrics()
  for (const seconds of [0.004, 0.005, 0.3, 99])
    metrics.observe('postern_proxy_handshake_seconds', seconds)
  const text = metrics.render()
  expect(text).toContain('postern_proxy_handshake_seconds_bucket{le="0.005"} 2\n')
  expect(text).toContain('postern_proxy_handshake_seconds_bucket{le="0.5"} 3\n')
  expect(text).toContain('postern_proxy_handshake_seconds_bucket{le="10"} 3\n')
  expect(text).toContain('postern_proxy_handshake_seconds_bucket{le="+Inf"} 4\n')
  expect(text).toContain('postern_proxy_handshake_seconds_count 4\n')
})

test('a collector that fails costs its own numbers and no others', () => {
  const metrics = createMetrics()
  metrics.collect(() => {
    throw new Error('gone')
  })
  const forget = metrics.collect((set) => set('postern_proxy_streams', 1))
  expect(metrics.render()).toContain('postern_proxy_streams 1\n')
  forget()
  expect(metrics.render()).not.toContain('postern_proxy_streams')
})

test('labels without end do not fill the memory', () => {
  const metrics = createMetrics()
  for (let i = 0; i < LIMITS.metricSeries.value + 50; i++)
    metrics.inc('postern_proxy_upgrades_refused_total', { code: `c${i}` })
  expect(metrics.render().match(/^postern_proxy_upgrades/gm)).toHaveLength(
    LIMITS.metricSeries.value,
  )
})

/** Every metric with a value, and labels that need escaping. */
function full(): string {
  const metrics = createMetrics()
  const set = metrics as unknown as {
    observe(name: string, value: number, labels: object): void
    collect(fn: (set: (name: string, value: number, labels: object) => void) => void): void
  }
  for (const name of names) {
    const kind: MetricKind = METRICS[name]
    const labels = Object.fromEntries(kind.labels.map((l) => [l, 'a "b" \\ c\nd']))
    if (kind.type === 'histogram') set.observe(name, 0.2, labels)
    else set.collect((give) => give(name, Infinity, labels))
  }
  return metrics.render()
}

test.skipIf(missing('promtool'))('promtool accepts every metric, lint included', () => {
  const done = spawnSync(peer('promtool'), ['check', 'metrics'], { input: full() })
  expect(done.stderr.toString() + done.stdout.toString()).toBe('')
  expect(done.status).toBe(0)
})

test.skipIf(missing('promtool'))('promtool refuses a page that is broken', () => {
  const done = spawnSync(peer('promtool'), ['check', 'metrics'], { input: full().slice(0, -9) })
  expect(done.status).not.toBe(0)
})

test.skipIf(missing('promtool'))('promtool accepts the alerts', () => {
  const done = spawnSync(peer('promtool'), ['check', 'rules', 'docs/operations/alerts.yml'])
  expect(done.stdout.toString()).toContain('SUCCESS')
  expect(done.status).toBe(0)
})

test('the alerts speak of metrics that exist', () => {
  const rules = readFileSync('docs/operations/alerts.yml', 'utf8')
  const used = [...new Set(rules.match(/\b(postern|nodejs)_[a-z_]+_[a-z_]+\b/g))]
  expect(used.length).toBeGreaterThan(8)
  expect(used.filter((name) => !names.includes(name as MetricName))).toEqual([])
})

test('every metric is set by somebody', () => {
  const all = sources()
    .filter((s) => s.path !== 'core/metrics/table.ts')
    .map((s) => s.text)
    .join('\n')
  expect(names.filter((name) => !all.includes(`'${name}'`))).toEqual([])
})

test('several processes show one page: counters and parts are summed, the rest as the table says', () => {
  const worker = (tunnels: number, policy: number) => {
    const metrics = createMetrics()
    metrics.collect((set) => {
      set('postern_proxy_tunnels', tunnels, { kind: 'agent' })
      set('postern_proxy_policy_version', policy)
      set('postern_proxy_live_proxies', 3)
      set('postern_proxy_policy_pushes_total', 10)
    })
    metrics.inc('postern_proxy_streams_relayed_total', { service: 'ssh' })
    metrics.observe('postern_proxy_handshake_seconds', 0.3)
    return metrics.dump()
  }
  const other = createMetrics()
  other.inc('postern_proxy_streams_relayed_total', { service: 'app' })
  const text = renderDump(together([worker(2, 7), worker(5, 6), other.dump()]))
  expect(text).toContain('postern_proxy_tunnels{kind="agent"} 7\n')
  expect(text).toContain('postern_proxy_policy_version 6\n')
  expect(text).toContain('postern_proxy_live_proxies 3\n')
  expect(text).toContain('postern_proxy_policy_pushes_total 20\n')
  expect(text).toContain('postern_proxy_streams_relayed_total{service="ssh"} 2\n')
  expect(text).toContain('postern_proxy_streams_relayed_total{service="app"} 1\n')
  expect(text).toContain('postern_proxy_handshake_seconds_bucket{le="0.5"} 2\n')
  expect(text).toContain('postern_proxy_handshake_seconds_count 2\n')
})

test('of a process that ended its counters stay and its gauges go', () => {
  const metrics = createMetrics()
  metrics.collect((set) => set('postern_proxy_tunnels', 4, { kind: 'agent' }))
  metrics.inc('postern_proxy_streams_relayed_total', { service: 'ssh' })
  metrics.observe('postern_proxy_handshake_seconds', 0.3)
  const text = renderDump(counted(metrics.dump()))
  expect(text).toContain('postern_proxy_streams_relayed_total{service="ssh"} 1\n')
  expect(text).toContain('postern_proxy_handshake_seconds_count 1\n')
  expect(text).not.toContain('postern_proxy_tunnels{')
})

/**
 * Counting, and the text that Prometheus reads (text exposition format 0.0.4). Counters and histograms are added to where
 * things happen; gauges, and counters that somebody else keeps, are set by collectors when the text is asked for.
 */
import { LIMITS } from '../limits.ts'
import { METRICS, type LabelsOf, type MetricKind, type MetricName } from './table.ts'

type NamesOf<T extends MetricKind['type']> = {
  [N in MetricName]: (typeof METRICS)[N]['type'] extends T ? N : never
}[MetricName]
/** Labels may be left out where a metric has none. */
type Given<N extends MetricName> = (typeof METRICS)[N]['labels'] extends readonly []
  ? readonly [labels?: Readonly<Record<string, never>>]
  : readonly [labels: LabelsOf<N>]

export type SetMetric = <N extends NamesOf<'counter' | 'gauge'>>(
  name: N,
  value: number,
  ...labels: Given<N>
) => void

export interface Metrics {
  /** Adds 1. */
  inc<N extends NamesOf<'counter'>>(name: N, ...labels: Given<N>): void
  observe<N extends NamesOf<'histogram'>>(name: N, value: number, ...labels: Given<N>): void
  /** `fn` runs at each `render`, in the order of registering; what it sets replaces what it set before. One that throws is skipped. */
  collect(fn: (set: SetMetric) => void): () => void
  /** Everything that has a value, in the order of the table. Plain data: it may go to another process. */
  dump(): MetricsDump
  /** The same as a page. */
  render(): string
}

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  /** Histograms: observations up to each bound, the last being +Inf. */
  readonly counts?: readonly number[]
}
export type MetricsDump = readonly {
  readonly name: MetricName
  readonly samples: readonly Sample[]
}[]

interface Series extends Sample {
  value: number
  readonly counts?: number[]
}
type Family = Map<string, Series>

const escapeHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
const escapeLabel = (text: string): string => escapeHelp(text).replaceAll('"', '\\"')

const number = (n: number): string =>
  n === Infinity ? '+Inf' : n === -Infinity ? '-Inf' : Number.isNaN(n) ? 'NaN' : String(n)

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return parts.length === 0 ? '' : `{${parts.join(',')}}`
}

function histogramLines(name: string, kind: MetricKind, series: Sample): string[] {
  const counts = series.counts ?? []
  let sum = 0
  const lines = counts.map((count, i) => {
    sum += count
    const le = number(kind.buckets?.[i] ?? Infinity)
    return `${name}_bucket${labelText({ ...series.labels, le })} ${sum}`
  })
  const labels = labelText(series.labels)
  return [...lines, `${name}_sum${labels} ${number(series.value)}`, `${name}_count${labels} ${sum}`]
}

function familyLines(name: MetricName, samples: readonly Sample[]): string[] {
  const kind: MetricKind = METRICS[name]
  return [
    `# HELP ${name} ${escapeHelp(kind.help)}`,
    `# TYPE ${name} ${kind.type}`,
    ...samples.flatMap((series) =>
      kind.type === 'histogram'
        ? histogramLines(name, kind, series)
        : [`${name}${labelText(series.labels)} ${number(series.value)}`],
    ),
  ]
}

export const renderDump = (dump: MetricsDump): string =>
  `${dump.flatMap(({ name, samples }) => familyLines(name, samples)).join('\n')}\n`

export function createMetrics(): Metrics {
  const kept = new Map<MetricName, Family>()
  const collectors = new Set<(set: SetMetric) => void>()

  /** The series of these labels; undefined when the metric has too many already. */
  function seriesOf(
    families: Map<MetricName, Family>,
    name: MetricName,
    given: Readonly<Record<string, string>> = {},
  ): Series | undefined {
    const kind: MetricKind = METRICS[name]
    let family = families.get(name)
    if (!family) families.set(name, (family = new Map<string, Series>()))
    const values = kind.labels.map((label) => given[label] ?? '')
    const key = values.join('\0')
    const known = family.get(key)
    if (known) return known
    if (family.size >= LIMITS.metricSeries.value) return undefined
    const labels = Object.fromEntries(kind.labels.map((label, i) => [label, values[i] ?? '']))
    const counts = kind.buckets && Array<number>(kind.buckets.length + 1).fill(0)
    const made: Series = { labels, value: 0, ...(counts && { counts }) }
    family.set(key, made)
    return made
  }

  function dump(): MetricsDump {
    const now = new Map<MetricName, Family>()
    const set: SetMetric = (name, value, ...[labels]) => {
      const series = seriesOf(now, name, labels)
      if (series) series.value = value
    }
    for (const fn of collectors)
      try {
        fn(set)
      } catch {
        // A scrape must say what it can: the metric that is missing is itself the signal.
      }
    const names = Object.keys(METRICS) as MetricName[]
    return names.flatMap((name) => {
      const family = now.get(name) ?? kept.get(name)
      return family ? [{ name, samples: [...family.values()] }] : []
    })
  }

  return {
    inc(name, ...[labels]) {
      const series = seriesOf(kept, name, labels)
      if (series) series.value += 1
    },
    observe(name, value, ...[labels]) {
      const series = seriesOf(kept, name, labels)
      if (!series?.counts) return
      const { buckets = [] }: MetricKind = METRICS[name]
      const at = buckets.findIndex((bound) => value <= bound)
      const slot = at < 0 ? buckets.length : at
      series.counts[slot] = (series.counts[slot] ?? 0) + 1
      series.value += value
    },
    collect(fn) {
      collectors.add(fn)
      return () => void collectors.delete(fn)
    },
    dump,
    render: () => renderDump(dump()),
  }
}

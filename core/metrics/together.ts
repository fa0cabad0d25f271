/** What several processes of one part show as one page: counters are summed, gauges as their row of the table says. */
import type { MetricsDump, Sample } from './metrics.ts'
import { METRICS, type MetricKind, type MetricName } from './table.ts'

type Joining = (a: number, b: number) => number
const sum: Joining = (a, b) => a + b
const JOIN: Readonly<Record<NonNullable<MetricKind['together']>, Joining>> = {
  sum,
  min: Math.min,
  max: Math.max,
}

function joiningOf(name: MetricName): Joining {
  const kind: MetricKind = METRICS[name]
  return kind.type === 'gauge' ? JOIN[kind.together ?? 'max'] : sum
}

function joined(join: Joining, a: Sample, b: Sample): Sample {
  const counts = a.counts?.map((n, i) => n + (b.counts?.[i] ?? 0))
  return { labels: a.labels, value: join(a.value, b.value), ...(counts && { counts }) }
}

/** One dump of them all, in the order of the table. */
export function together(dumps: readonly MetricsDump[]): MetricsDump {
  const families = new Map<MetricName, Map<string, Sample>>()
  for (const { name, samples } of dumps.flat()) {
    const family = families.get(name) ?? new Map<string, Sample>()
    families.set(name, family)
    const join = joiningOf(name)
    for (const sample of samples) {
      const key = JSON.stringify(Object.values(sample.labels))
      const there = family.get(key)
      family.set(key, there ? joined(join, there, sample) : sample)
    }
  }
  return (Object.keys(METRICS) as MetricName[]).flatMap((name) => {
    const family = families.get(name)
    return family ? [{ name, samples: [...family.values()] }] : []
  })
}

/** What of a process that has ended still counts: its counters, so that the sum never falls. */
export const counted = (dump: MetricsDump): MetricsDump =>
  dump.filter(({ name }) => METRICS[name].type !== 'gauge')

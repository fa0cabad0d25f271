/** Interleaved rounds: each round runs every variant once, so that a noisy minute hits all alike. Medians and ratios of medians. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'

export interface Variant {
  readonly name: string
  /** One run; answers the figure, in the unit of the whole benchmark. */
  run(): Promise<number>
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2
}

export interface Row {
  readonly figure: string
  readonly unit: string
  readonly medians: Readonly<Record<string, number>>
  readonly ratio: number
  readonly target: string
  readonly rounds: number
}

/** Runs a warm-up and `rounds` interleaved rounds; the ratio is the first variant's median over the second's. */
export async function compare(
  figure: string,
  unit: string,
  target: string,
  variants: readonly [Variant, Variant, ...Variant[]],
  rounds = 5,
): Promise<Row> {
  const seen = new Map<string, number[]>(variants.map((v) => [v.name, []]))
  for (const v of variants) await v.run()
  for (let round = 0; round < rounds; round++)
    for (const v of round % 2 === 0 ? variants : [...variants].reverse())
      seen.get(v.name)?.push(await v.run())
  const medians = Object.fromEntries([...seen].map(([name, values]) => [name, median(values)]))
  const ratio = (medians[variants[0].name] ?? NaN) / (medians[variants[1].name] ?? NaN)
  const row = { figure, unit, medians, ratio, target, rounds }
  const shown = Object.entries(medians).map(([name, value]) => `${name} ${round3(value)} ${unit}`)
  process.stdout.write(
    `${figure}: ${shown.join(', ')}; ratio ${ratio.toFixed(2)} (target ${target})\n`,
  )
  return row
}

const round3 = (n: number): string => (n >= 100 ? n.toFixed(0) : n.toPrecision(3))

export function machine(): string {
  const cpu = os.cpus()[0]?.model.trim() ?? 'unknown CPU'
  return `${os.cpus().length} × ${cpu}, ${os.type()} ${os.release()}, Node ${process.version}`
}

/** As `save`, but rows that were not measured now stay as they were. */
export function saveRows(name: string, rows: readonly { readonly figure: string }[]): void {
  const path = `bench/results/${name}.json`
  const before = existsSync(path)
    ? (JSON.parse(readFileSync(path, 'utf8')) as { rows: { figure: string }[] }).rows
    : []
  const fresh = new Map(rows.map((row) => [row.figure, row]))
  const kept = before.map((row) => fresh.get(row.figure) ?? row)
  const known = new Set(before.map((row) => row.figure))
  save(name, [...kept, ...rows.filter((row) => !known.has(row.figure))])
}

/** bench/results/<name>.json: what docs/performance.md quotes. */
export function save(name: string, rows: readonly object[]): void {
  mkdirSync('bench/results', { recursive: true })
  writeFileSync(
    `bench/results/${name}.json`,
    `${JSON.stringify({ machine: machine(), date: new Date().toISOString().slice(0, 10), rows }, null, 2)}\n`,
  )
}

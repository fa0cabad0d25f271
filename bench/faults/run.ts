/**
 * `npm run bench:faults`: how soon the dead are noticed, and what users see of a tunnel that breaks under their stream. Real processes;
 * the rounds of all faults are interleaved, with rounds without any as the baseline. FAULTS_MIB (default 24) of one stream each way,
 * FAULTS_ROUNDS (default 20) resets, as many rounds without a fault, and half as many of each of the others. An argument, `noticed` or
 * `resumed`, runs that part alone.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { stop } from '../support/processes.ts'
import { median, saveRows } from '../support/rounds.ts'
import { writeWorld } from '../tunnel/world.ts'
import { noticed } from './noticed.ts'
import { FAULTS, resumed, type Fault, type Round } from './resumed.ts'

const BYTES = Number(process.env['FAULTS_MIB'] ?? 24) << 20
const ROUNDS = Number(process.env['FAULTS_ROUNDS'] ?? 20)

/** The smallest value that `q` of all are not above. */
const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.max(0, Math.ceil(values.length * q) - 1)] ?? NaN

const rows: { readonly figure: string }[] = []
function note(figure: string, ms: readonly number[], target: string): void {
  const medians = { p50: median(ms) / 1000, p99: quantile(ms, 0.99) / 1000 }
  rows.push({ figure: `${figure} (${ms.length})`, unit: 's', medians, target } as never)
  process.stdout.write(
    `${figure}: p50 ${medians.p50.toFixed(2)}, p99 ${medians.p99.toFixed(2)} s of ${ms.length} (target ${target})\n`,
  )
}

async function noticing(): Promise<void> {
  const dir = mkdtempSync(join(os.tmpdir(), 'postern-faults-'))
  const children: ChildProcess[] = []
  try {
    const world = join(dir, 'world.json')
    await writeWorld(world)
    const times = await noticed(world, children)
    note('dead proxy, idle: agents have another tunnel', times.idleReplaced, '≤ 45 s')
    note('dead agent, idle: its proxy has given it up', times.idleGivenUp, '≤ 45 s')
    note('dead proxy, traffic waiting: suspect', times.suspect, '≤ 1 s')
    note('dead proxy, traffic waiting: replaced', times.replaced, '≤ 4 s')
  } finally {
    for (const child of children) child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Most faults of one kind are spread evenly over the others. */
function plan(): Fault[] {
  const faults: Fault[] = []
  for (let i = 0; i < ROUNDS; i++)
    faults.push(...FAULTS.filter((f) => f === 'none' || f === 'reset' || i % 2 === 0))
  return faults
}

async function resuming(): Promise<void> {
  const file = new URL('../tunnel/target.ts', import.meta.url).pathname
  const target = spawn(process.execPath, ['--import', 'tsx', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const rounds: Round[] = []
  try {
    const [port] = (await once(target.stdout, 'data')) as [Buffer]
    await resumed(plan(), BYTES, port.toString().trim(), (round) => {
      rounds.push(round)
      process.stdout.write(
        `  ${round.fault}: ${round.stall.toFixed(0)} ms${round.whole ? '' : ', NOT WHOLE'}\n`,
      )
    })
  } finally {
    await stop(target)
  }
  const stalls = (fault: Fault) => rounds.filter((r) => r.fault === fault).map((r) => r.stall)
  const cut = rounds.filter((r) => r.fault !== 'none')
  const whole = (cut.filter((r) => r.whole).length / cut.length) * 100
  const megabytes = `${BYTES >> 20} MiB there and back`
  rows.push({
    figure: `streams cut in the middle, ${megabytes}: bytes identical (${cut.length})`,
    unit: '%',
    value: whole,
    target: '100',
  } as never)
  process.stdout.write(`bytes identical: ${whole} % of ${cut.length} (target 100)\n`)
  note('longest pause, nothing cut', stalls('none'), 'baseline')
  note('stall, every connection reset', stalls('reset'), '≤ 2 s')
  note('stall, kill -9 of the proxy', stalls('kill -9'), '≤ 2 s')
  note('stall, the path swallows everything', stalls('blackhole'), '≤ 5 s')
}

const only = process.argv[2]
if (only !== 'resumed') await noticing()
if (only !== 'noticed') await resuming()
saveRows('faults', rows)
process.exit(0)

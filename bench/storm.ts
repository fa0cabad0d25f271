/**
 * `npm run bench:storm`: thousands of agents, each with an identity, a handshake and a source address of its own, on one proxy process: what
 * an idle tunnel holds, and how long all of them take to return after the proxy was killed with -9, without manners and with an agent's.
 * STORM_AGENTS (default 10000; several with commas), STORM_CLIENTS (processes that play them, default 4), STORM_SOURCES (addresses that
 * they come from, default one for each; 1 is an office behind one address).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { bundled } from './support/bundle.ts'
import { rss } from './support/processes.ts'
import { saveRows } from './support/rounds.ts'
import { describeReturns, type Moment } from './swarm/returns.ts'
import { cpuSeconds } from './tunnel/cpu.ts'
import { writeWorld } from './tunnel/world.ts'

const SIZES = (process.env['STORM_AGENTS'] ?? '10000').split(',').map(Number)
const CLIENTS = Number(process.env['STORM_CLIENTS'] ?? 4)
const LIMIT_MS = 300_000
const IDLE_MS = Number(process.env['STORM_IDLE_MS'] ?? 20_000)
const dir = mkdtempSync(join(os.tmpdir(), 'postern-storm-'))
const world = join(dir, 'world.json')
const children: ChildProcess[] = []
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

interface Started {
  readonly child: ChildProcess
  readonly lines: Interface
  next(): Promise<string>
}
function start(script: string, ...args: string[]): Started {
  const child = spawn(process.execPath, ['--expose-gc', script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.push(child)
  const lines = createInterface(child.stdout)
  return { child, lines, next: () => new Promise((resolve) => lines.once('line', resolve)) }
}

interface Facts {
  readonly agentTunnels: number
  readonly upgradesRefused: number
  readonly handshakesRefused: number
  /** Requests to the control plane, and writes to the table. */
  readonly asked: number
  readonly rows: number
  /** Seconds since it listens. */
  readonly cpu: number
  /** Bytes. */
  readonly heapUsed: number
  readonly external: number
}
async function ask(proxy: Started): Promise<Facts> {
  const answer = proxy.next()
  proxy.child.stdin?.write('\n')
  return JSON.parse(await answer) as Facts
}

interface Client {
  readonly started: Started
  up: number
}
const count = (clients: readonly Client[]): number => clients.reduce((n, c) => n + c.up, 0)

/** Everybody is there, or the time is up: then it says so. Answers how many were there when. */
async function all(clients: readonly Client[], agents: number): Promise<Moment[]> {
  const began = performance.now()
  const seen: Moment[] = []
  for (;;) {
    const at = (performance.now() - began) / 1000
    seen.push({ at, up: count(clients) })
    if (count(clients) >= agents) return seen
    if (at * 1000 > LIMIT_MS) {
      process.stdout.write(`only ${count(clients)} of ${agents} came within ${at.toFixed(0)} s\n`)
      return seen
    }
    await pause(50)
  }
}
async function gone(child: ChildProcess): Promise<void> {
  const over = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await over
}

const rows: { readonly figure: string }[] = []
const note = (figure: string, value: number, unit: string, target = 'stated'): void => {
  rows.push({ figure, value: Number(value.toPrecision(4)), unit, target } as { figure: string })
  process.stdout.write(`${figure}: ${value.toFixed(value < 10 ? 2 : 1)} ${unit} (${target})\n`)
}

async function idleCosts(proxy: Started, agents: number, before: Facts, base: number) {
  // Until what the handshakes left behind is collected.
  for (let i = 0; i < 5; i++) {
    await pause(2000)
    await ask(proxy)
  }
  const each = (bytes: number) => bytes / agents / 1024
  const idle = await ask(proxy)
  const resident = (rss(proxy.child.pid ?? 0) - base) * 1024 * 1024
  note(`${agents}: an idle tunnel in one process`, each(resident), 'KiB', '≤ 38')
  note(`${agents}: of that objects`, each(idle.heapUsed - before.heapUsed), 'KiB')
  note(`${agents}: of that buffers`, each(idle.external - before.external), 'KiB')
  await pause(IDLE_MS)
  const cpu = (((await ask(proxy)).cpu - idle.cpu) / IDLE_MS) * 100_000
  note(`${agents}: CPU of the proxy with all of them idle`, cpu, '%')
}

async function storm(pace: 'unpaced' | 'paced', agents: number, scripts: [string, string]) {
  const [proxyScript, agentScript] = scripts
  let proxy = start(proxyScript, world, '0')
  const port = await proxy.next()
  await pause(2000)
  const before = await ask(proxy)
  const base = rss(proxy.child.pid ?? 0)
  const clients: Client[] = []
  const sources = Number(process.env['STORM_SOURCES'] ?? agents)
  for (let i = 0; i < CLIENTS; i++) {
    const n = Math.floor(agents / CLIENTS) + (i < agents % CLIENTS ? 1 : 0)
    const share = Math.max(1, Math.floor(sources / CLIENTS))
    const first = sources < CLIENTS ? 1 : 1 + i * share
    const started = start(agentScript, world, port, `${n}`, pace, `${first}`, `${share}`)
    const client = { started, up: 0 }
    await started.next()
    started.lines.on('line', (line) => (client.up = Number(line)))
    clients.push(client)
  }
  await all(clients, agents)
  if (pace === 'unpaced') await idleCosts(proxy, agents, before, base)
  await gone(proxy.child)
  // The listener of the new process must find the port free.
  while (clients.some((c) => c.up > 0)) await pause(20)
  const pids = clients.map((c) => c.started.child.pid ?? 0)
  const spent = cpuSeconds(pids)
  proxy = start(proxyScript, world, port)
  await proxy.next()
  const seen = await all(clients, agents)
  const facts = await ask(proxy)
  const { took, busiest, half, histogram } = describeReturns(seen)
  const name = `${agents}, ${pace}`
  note(`${name}: until all are back`, took, 's', pace === 'paced' ? '< 60' : '≤ 20')
  note(`${name}: until half are back`, half, 's')
  note(`${name}: returns in the busiest second`, busiest, '')
  note(`${name}: CPU of the proxy for each return`, (facts.cpu / agents) * 1000, 'ms')
  note(`${name}: CPU of each returning agent`, ((cpuSeconds(pids) - spent) / agents) * 1000, 'ms')
  note(`${name}: upgrades refused meanwhile`, facts.upgradesRefused, '')
  note(`${name}: handshakes refused meanwhile`, facts.handshakesRefused, '')
  note(`${name}: requests to the control plane meanwhile`, facts.asked, '', 'none for an agent')
  note(`${name}: rows written to the table meanwhile`, facts.rows, '', 'one for each agent')
  process.stdout.write(`  returns in each second: ${histogram.join(' ')}\n`)
  for (const c of [...clients.map((one) => one.started.child), proxy.child]) await gone(c)
}

const files = Number(/Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
const most = Math.max(...SIZES)
if (files < most + 100) {
  process.stderr.write(`open files: ${files}; run ulimit -n ${most + 1000} first\n`)
  process.exit(1)
}
try {
  await writeWorld(world)
  const scripts: [string, string] = [
    await bundled('bench/swarm/proxy.ts'),
    await bundled('bench/swarm/agents.ts'),
  ]
  for (const agents of SIZES) {
    note(`${agents}: load of the machine before`, os.loadavg()[0] ?? 0, '')
    await storm('unpaced', agents, scripts)
    await storm('paced', agents, scripts)
    saveRows('storm', rows)
  }
  for (const script of scripts) rmSync(script)
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(dir, { recursive: true, force: true })
}

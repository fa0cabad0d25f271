/**
 * `npm run bench:storm`: ten thousand agents, each with an identity and a handshake of its own, on one proxy process: what an idle
 * tunnel holds, and how long all of them take to return after the proxy was killed, without manners and with an agent's.
 * STORM_AGENTS (default 10,000), STORM_CLIENTS (processes that play them, default 4).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { rss } from './support/processes.ts'
import { save } from './support/rounds.ts'
import { writeWorld } from './tunnel/world.ts'

const AGENTS = Number(process.env['STORM_AGENTS'] ?? 10_000)
const CLIENTS = Number(process.env['STORM_CLIENTS'] ?? 4)
const LIMIT_MS = 300_000
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
  const file = new URL(`./swarm/${script}.ts`, import.meta.url).pathname
  const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', file, ...args], {
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
  readonly cpu: number
}
async function ask(proxy: Started): Promise<Facts> {
  const answer = proxy.next()
  proxy.child.stdin?.write('\n')
  return JSON.parse(await answer) as Facts
}

/** Everybody is there, or the time is up: then it says so. Answers how long that took, s. */
async function all(clients: readonly { up: number }[]): Promise<number> {
  const began = performance.now()
  while (clients.reduce((n, c) => n + c.up, 0) < AGENTS) {
    await pause(50)
    if (performance.now() - began > LIMIT_MS) break
  }
  const here = clients.reduce((n, c) => n + c.up, 0)
  if (here < AGENTS)
    process.stdout.write(`only ${here} of ${AGENTS} came within ${LIMIT_MS / 1000} s\n`)
  return (performance.now() - began) / 1000
}
async function gone(child: ChildProcess): Promise<void> {
  const over = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await over
}

const rows: object[] = []
const note = (figure: string, value: number, unit: string, target: string): void => {
  rows.push({ figure, value, unit, target })
  process.stdout.write(`${figure}: ${value.toFixed(1)} ${unit} (target ${target})\n`)
}

async function storm(pace: 'unpaced' | 'paced'): Promise<void> {
  let proxy = start('proxy', world, '0')
  const port = await proxy.next()
  await pause(2000)
  await ask(proxy)
  const before = rss(proxy.child.pid ?? 0)
  const clients = []
  for (let i = 0; i < CLIENTS; i++) {
    const n = Math.floor(AGENTS / CLIENTS) + (i < AGENTS % CLIENTS ? 1 : 0)
    const started = start('agents', world, port, String(n), pace)
    const client = { started, up: 0 }
    await started.next()
    started.lines.on('line', (line) => (client.up = Number(line)))
    clients.push(client)
  }
  await all(clients)
  if (pace === 'unpaced') {
    // Until what the handshakes left behind is collected.
    for (let i = 0; i < 5; i++) {
      await pause(2000)
      await ask(proxy)
    }
    const each = ((rss(proxy.child.pid ?? 0) - before) * 1024) / AGENTS
    note(`idle tunnel, of ${AGENTS} in one process`, each, 'KiB', '≤ 38')
    const idle = await ask(proxy)
    await pause(20_000)
    note(
      'CPU of the proxy with all of them idle',
      ((await ask(proxy)).cpu - idle.cpu) * 5,
      '%',
      'none',
    )
  }
  await gone(proxy.child)
  // The listener of the new process must find the port free.
  while (clients.some((c) => c.up > 0)) await pause(20)
  proxy = start('proxy', world, port)
  await proxy.next()
  const took = await all(clients)
  const facts = await ask(proxy)
  const label = pace === 'paced' ? 'return, as agents do it' : 'return, unpaced'
  note(`${AGENTS} agents ${label}`, took, 's', pace === 'paced' ? '< 60' : '≤ 20')
  rows.push({
    figure: `upgrades refused meanwhile, ${pace}`,
    value: facts.upgradesRefused,
    unit: '',
    target: 'none',
  })
  rows.push({
    figure: `CPU of the proxy meanwhile, ${pace}`,
    value: facts.cpu,
    unit: 's',
    target: 'none',
  })
  for (const [what, value] of [
    ['requests to the control plane meanwhile', facts.asked],
    ['rows written to the table meanwhile', facts.rows],
    ['handshakes refused meanwhile', facts.handshakesRefused],
  ] as const)
    rows.push({ figure: `${what}, ${pace}`, value, unit: '', target: 'none' })
  process.stdout.write(`  ${JSON.stringify(facts)}\n`)
  for (const c of [...clients.map((one) => one.started.child), proxy.child]) await gone(c)
}

const files = Number(/Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
if (files < AGENTS + 100) {
  process.stderr.write(`open files: ${files}; run ulimit -n ${AGENTS + 1000} first\n`)
  process.exit(1)
}
try {
  await writeWorld(world)
  await storm('unpaced')
  await storm('paced')
  save('storm', rows)
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(dir, { recursive: true, force: true })
}

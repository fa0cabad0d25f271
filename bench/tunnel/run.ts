/**
 * `npm run bench:tunnel`: user → proxy → agent → target in separate processes on loopback, our tunnel interleaved with the same path
 * without a multiplexer (one WebSocket for each stream) and with `ssh -R`. Prints ratios of medians, writes bench/results/tunnel.json.
 * An argument runs only the figures whose name contains it. BENCH_MIB (default 256) bytes of one bulk run, BENCH_ROUNDS (default 5).
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { freePort, rss, startSshd, stop } from '../support/processes.ts'
import { compare, save, type Row, type Variant } from '../support/rounds.ts'
import { cpuSeconds } from './cpu.ts'
import { bulkDown, bulkUp, echo, echoBesideBulk, many, opens } from './user.ts'
import { writeWorld } from './world.ts'

const BYTES = Number(process.env['BENCH_MIB'] ?? 256) << 20
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5)
const dir = mkdtempSync(join(os.tmpdir(), 'postern-bench-'))
const children: ChildProcess[] = []
const world = join(dir, 'world.json')

/** Starts a script beside this one; answers with its first line. */
async function start(
  script: string,
  ...args: string[]
): Promise<{ child: ChildProcess; line: string }> {
  const file = new URL(`./${script}.ts`, import.meta.url).pathname
  const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, line: line.toString().trim() }
}

interface Path {
  /** Where users connect. */
  readonly users: number
  /** The proxy's and the agent's processes. */
  readonly pids: readonly number[]
}

async function path(mode: 'ours' | 'plain', target: string): Promise<Path> {
  const proxy = await start('proxy', world, mode)
  const [door = 0, users = 0] = JSON.parse(proxy.line) as number[]
  const agent = await start('agent', world, mode, String(door), target)
  return { users, pids: [proxy.child.pid ?? 0, agent.child.pid ?? 0] }
}

async function sshPath(target: string): Promise<Path> {
  const key = join(dir, 'key')
  spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  const sshd = await startSshd(dir, 'sshd', `${key}.pub`)
  children.push(sshd.child)
  const users = await freePort()
  const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR']
  // The fastest cipher that both have, as TLS picks its own.
  options.push('Ciphers=aes128-gcm@openssh.com', 'ExitOnForwardFailure=yes', 'IdentitiesOnly=yes')
  const forward = `127.0.0.1:${users}:127.0.0.1:${target}`
  const args = ['-N', '-i', key, '-p', String(sshd.port), '-R', forward]
  const login = `${os.userInfo().username}@127.0.0.1`
  const ssh = spawn('ssh', [...args, ...options.flatMap((o) => ['-o', o]), login], {
    stdio: 'inherit',
  })
  children.push(ssh)
  for (let i = 0; i < 100; i++) {
    const up = await echo(users, 1).then(
      () => true,
      () => false,
    )
    if (up) return { users, pids: [sshd.child.pid ?? 0, ssh.pid ?? 0] }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('ssh -R did not come up')
}

process.once('SIGTERM', () => {
  for (const child of children) child.kill()
  process.exit(1)
})
try {
  await writeWorld(world)
  const { line: target } = await start('target')
  const ours = await path('ours', target)
  const plain = await path('plain', target)
  const ssh = await sshPath(target)
  type Measure = (port: number, pids: readonly number[]) => Promise<number>
  const over = (measure: Measure): [Variant, Variant, Variant] => [
    { name: 'ours', run: () => measure(ours.users, ours.pids) },
    { name: 'ws without mux', run: () => measure(plain.users, plain.pids) },
    { name: 'ssh -R', run: () => measure(ssh.users, ssh.pids) },
  ]
  const rows: (Row & { readonly toSsh?: number })[] = []
  const row = async (figure: string, unit: string, goal: string, measure: Measure) => {
    if (only !== undefined && !figure.includes(only)) return
    const result = await compare(figure, unit, goal, over(measure), ROUNDS)
    const toSsh = (result.medians['ours'] ?? NaN) / (result.medians['ssh -R'] ?? NaN)
    process.stdout.write(`  to ssh -R: ${toSsh.toFixed(2)}\n`)
    rows.push({ ...result, toSsh })
  }
  const only = process.argv[2]
  const beside = '≥ 0.9 of ws without mux, ≥ 0.85 of ssh -R'
  await row('bulk up, 1 stream', 'MB/s', beside, (p) => bulkUp(p, BYTES))
  await row('bulk down, 1 stream', 'MB/s', beside, (p) => bulkDown(p, BYTES))
  const perGb = async (pids: readonly number[], move: () => Promise<unknown>) => {
    const before = cpuSeconds(pids)
    await move()
    return (cpuSeconds(pids) - before) / (BYTES / 1e9)
  }
  await row('CPU of proxy and agent, up', 's/GB', '≤ 1.2 of ws without mux', (p, pids) =>
    perGb(pids, () => bulkUp(p, BYTES)),
  )
  await row('CPU of proxy and agent, down', 's/GB', '≤ 1.2 of ws without mux', (p, pids) =>
    perGb(pids, () => bulkDown(p, BYTES)),
  )
  for (const n of [8, 128])
    await row(
      `bulk down, ${n} streams`,
      'MB/s',
      '≥ 1.0 of ssh -R',
      async (p) => (await many(p, n, BYTES)).sum,
    )
  await row(
    'fairness of 8 streams',
    'Jain',
    '≥ 0.95',
    async (p) => (await many(p, 8, BYTES)).fairness,
  )
  await row('echo of 64 B, p50', 'µs', '≤ 1.2 of ssh -R', async (p) => (await echo(p, 2000)).p50)
  await row('echo of 64 B, p99', 'µs', '≤ 1.2 of ssh -R', async (p) => (await echo(p, 2000)).p99)
  await row(
    'echo beside bulk, p99',
    'µs',
    '≤ 1500',
    async (p) => (await echoBesideBulk(p, 200)).p99,
  )
  await row('streams opened, 16 at a time', 'per s', '≥ 4000', (p) => opens(p, 2000, 16))
  if (only === undefined)
    save('tunnel', [
      ...rows,
      { figure: 'RSS after the run, proxy and agent', unit: 'MiB', values: ours.pids.map(rss) },
    ])
} finally {
  for (const child of children.reverse()) await stop(child)
  rmSync(dir, { recursive: true, force: true })
}

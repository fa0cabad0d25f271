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
import { compare, saveRows, type Row, type Variant } from '../support/rounds.ts'
import { cpuSeconds } from './cpu.ts'
import { comesUp, haproxyPath, nginxPath, stunnelPath, type Path } from './peers.ts'
import { bulkDown, bulkUp, echo, echoBesideBulk, many, opens, stalled } from './user.ts'
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

async function path(
  mode: 'ours' | 'plain',
  target: string,
): Promise<Path & { readonly door: number }> {
  const proxy = await start('proxy', world, mode)
  const [door = 0, users = 0] = JSON.parse(proxy.line) as number[]
  const agent = await start('agent', world, mode, String(door), target)
  return { users, door, pids: [proxy.child.pid ?? 0, agent.child.pid ?? 0] }
}

/** The same tunnel, reached through a user's end that has one of its own: WebSocket over TLS on both legs. */
async function bothLegs(ours: Path & { readonly door: number }): Promise<Path> {
  const end = await start('agent', world, 'user', String(ours.door), '0')
  return { users: Number(end.line), pids: [...ours.pids, end.child.pid ?? 0] }
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
  await comesUp(users, 'ssh -R')
  return { users, pids: [sshd.child.pid ?? 0, ssh.pid ?? 0] }
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
  const legs = await bothLegs(ours)
  const others = {
    stunnel: await stunnelPath(dir, world, target, children),
    nginx: await nginxPath(dir, world, target, children),
    haproxy: await haproxyPath(dir, world, target, children),
  }
  type Measure = (port: number, pids: readonly number[]) => Promise<number>
  const variant = (name: string, by: Path, measure: Measure): Variant => ({
    name,
    run: () => measure(by.users, by.pids),
  })
  const rows: (Row & { readonly toSsh?: number })[] = []
  const only = process.argv[2]
  const row = async (
    figure: string,
    unit: string,
    goal: string,
    measure: Measure,
    more: readonly (keyof typeof others)[] = [],
  ) => {
    if (only !== undefined && !figure.includes(only)) return
    const all: [Variant, Variant, ...Variant[]] = [
      variant('ours', ours, measure),
      variant('ws without mux', plain, measure),
      variant('ssh -R', ssh, measure),
      ...more.map((name) => variant(name, others[name], measure)),
    ]
    const result = await compare(figure, unit, goal, all, ROUNDS)
    const toSsh = (result.medians['ours'] ?? NaN) / (result.medians['ssh -R'] ?? NaN)
    process.stdout.write(`  to ssh -R: ${toSsh.toFixed(2)}\n`)
    rows.push({ ...result, toSsh })
  }
  /** Both legs by WebSocket over TLS, against one. */
  const legsRow = async (figure: string, unit: string, goal: string, measure: Measure) => {
    if (only !== undefined && !figure.includes(only)) return
    const both = variant('both legs', legs, measure)
    rows.push(await compare(figure, unit, goal, [both, variant('one leg', ours, measure)], ROUNDS))
  }
  const beside = '≥ 0.9 of ws without mux, ≥ 1.0 of stunnel, ≥ 0.85 of ssh -R'
  await row('bulk up, 1 stream', 'MB/s', beside, (p) => bulkUp(p, BYTES), ['stunnel'])
  await row('bulk down, 1 stream', 'MB/s', beside, (p) => bulkDown(p, BYTES), ['stunnel'])
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
  for (const n of [8, 128])
    await row(
      `fairness of ${n} streams`,
      'Jain',
      '≥ 0.95',
      async (p) => (await many(p, n, BYTES)).fairness,
    )
  const wss = 'with the user by WebSocket over TLS too'
  await legsRow(`bulk up ${wss}`, 'MB/s', '≥ 0.6 of one leg', (p) => bulkUp(p, BYTES))
  await legsRow(`bulk down ${wss}`, 'MB/s', '≥ 0.6 of one leg', (p) => bulkDown(p, BYTES))
  await legsRow(`CPU of all ends, down, ${wss}`, 's/GB', 'stated', (p, pids) =>
    perGb(pids, () => bulkDown(p, BYTES)),
  )
  await row('echo of 64 B, p50', 'µs', '≤ 1.2 of ssh -R', async (p) => (await echo(p, 2000)).p50)
  await row('echo of 64 B, p99', 'µs', '≤ 1.2 of ssh -R', async (p) => (await echo(p, 2000)).p99)
  await row(
    'echo beside bulk, p99',
    'µs',
    '≤ 1500',
    async (p) => (await echoBesideBulk(p, 200)).p99,
  )
  await row('streams opened, 16 at a time', 'per s', '≥ 4000', (p) => opens(p, 1000, 16), [
    'nginx',
    'haproxy',
  ])
  await row(
    'CPU of proxy and agent, a stream opened',
    'µs',
    '≤ 1.0 of ssh -R',
    async (p, pids) => {
      const before = cpuSeconds(pids)
      await opens(p, 1000, 16)
      return (cpuSeconds(pids) - before) * 1000
    },
    ['nginx', 'haproxy'],
  )
  const stall = 'memory that four stalled readers take, proxy and agent'
  if (only === undefined || stall.includes(only)) {
    const before = ours.pids.map(rss)
    const release = await stalled(ours.users, 4)
    await bulkDown(ours.users, BYTES)
    const values = ours.pids.map((pid, i) => rss(pid) - (before[i] ?? 0))
    release()
    process.stdout.write(`${stall}: ${values.map((v) => v.toFixed(1)).join(', ')} MiB\n`)
    saveRows('tunnel', [
      { figure: stall, unit: 'MiB', values, target: 'their windows, 4 × 8 MiB' } as never,
    ])
  }
  saveRows('tunnel', rows)
  if (only === undefined)
    saveRows('tunnel', [
      {
        figure: 'RSS after the run, proxy and agent',
        unit: 'MiB',
        values: ours.pids.map(rss),
      } as never,
    ])
} finally {
  for (const child of children.reverse()) await stop(child)
  rmSync(dir, { recursive: true, force: true })
}

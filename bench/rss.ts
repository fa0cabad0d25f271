/**
 * `npm run bench:rss`: resident memory of each process, idle and with sessions: `postern up` (control plane, proxy and agent in one), an agent of its own,
 * and what one more ssh session adds at the node that already has one: its process and its thread. Idle is a minute after the start: until then V8
 * has not given back what starting took.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { rss, startAgent, startUp, stop } from './support/processes.ts'
import { save } from './support/rounds.ts'

const dir = mkdtempSync(join(os.tmpdir(), 'postern-bench-'))
const settle = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** All descendants of a process. */
function family(pid: number): number[] {
  const parents = new Map<number, number>()
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      parents.set(
        Number(entry),
        Number(readFileSync(`/proc/${entry}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]),
      )
    } catch {
      // it ended meanwhile
    }
  const found = [pid]
  for (const at of found)
    for (const [child, parent] of parents) if (parent === at) found.push(child)
  return found
}
const total = (pid: number): number => family(pid).reduce((sum, p) => sum + rss(p), 0)
/** The same with pages that several processes map, as Node's own program, divided among them. */
const share = (pid: number): number =>
  family(pid).reduce((sum, p) => sum + inMiB(`/proc/${p}/smaps_rollup`, 'Pss'), 0)
const inMiB = (file: string, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0) / 1024

// Node reads these roots into every process; a machine without them is the usual one.
delete process.env['NODE_EXTRA_CA_CERTS']
// A start that builds first would count the builder.
execFileSync(process.execPath, ['bin/postern.mjs', '--version'])
const IDLE_MS = 60_000
const up = await startUp(dir)
const agent = (await startAgent(up)).child
const rows: object[] = []
const note = (figure: string, value: number, target: string): void => {
  rows.push({ figure, unit: 'MiB', value: Math.round(value * 10) / 10, target })
  process.stdout.write(`${figure}: ${value.toFixed(1)} MiB (target ${target})\n`)
}
/** Resolves when the session's program runs. */
async function session() {
  const child = spawn('ssh', ['-F', up.sshConfig, up.node, 'echo up; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  await new Promise((resolve) => child.stdout.once('data', resolve))
  return child
}
try {
  await settle(IDLE_MS)
  const upPid = up.child.pid ?? 0
  const agentPid = agent.pid ?? 0
  note('postern up, idle', total(upPid), 'none')
  note('agent, idle', total(agentPid), '≤ 60')
  const agentStatus = `/proc/${agentPid}/status`
  note('agent, idle: of that Node and libraries, shared', inMiB(agentStatus, 'RssFile'), 'stated')
  const sessions = [await session()]
  await settle(5000)
  const before = { total: total(upPid), share: share(upPid) }
  for (let i = 0; i < 5; i++) sessions.push(await session())
  await settle(5000)
  note('one more ssh session at the node (mean of 5)', (total(upPid) - before.total) / 5, '≤ 45')
  note('one more ssh session: its share of pages', (share(upPid) - before.share) / 5, 'stated')
  for (const s of sessions) await stop(s)
  const cpu = (pid: number) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return (
      (Number(fields[11]) + Number(fields[12])) /
      Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
    )
  }
  const start = cpu(agentPid)
  await settle(IDLE_MS)
  const percent = ((cpu(agentPid) - start) / (IDLE_MS / 1000)) * 100
  rows.push({ figure: 'agent, idle CPU', unit: '%', value: percent, target: '0.0' })
  process.stdout.write(`agent, idle CPU: ${percent.toFixed(2)} % (target 0.0)\n`)
  save('rss', rows)
} finally {
  await Promise.all([stop(up.child), stop(agent)])
  rmSync(dir, { recursive: true, force: true })
}

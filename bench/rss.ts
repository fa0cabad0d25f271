/**
 * `npm run bench:rss`: resident memory of each process, idle and with sessions: `postern up` (control plane, proxy and agent in one), an agent of its own,
 * one more ssh session (its process at the node).
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

const up = await startUp(dir)
const agent = (await startAgent(up)).child
const rows: object[] = []
const note = (figure: string, value: number, target: string): void => {
  rows.push({ figure, unit: 'MiB', value: Math.round(value * 10) / 10, target })
  process.stdout.write(`${figure}: ${value.toFixed(1)} MiB (target ${target})\n`)
}
try {
  await settle(8000)
  const upPid = up.child.pid ?? 0
  const agentPid = agent.pid ?? 0
  note('postern up, idle', total(upPid), 'none')
  note('agent, idle', total(agentPid), '≤ 60')
  const before = total(upPid)
  const sessions = Array.from({ length: 5 }, () =>
    spawn('ssh', ['-F', up.sshConfig, up.node, 'sleep 30'], { stdio: 'ignore' }),
  )
  await settle(5000)
  note('one more ssh session at the node (mean of 5)', (total(upPid) - before) / 5, '≤ 45')
  for (const s of sessions) await stop(s)
  const cpu = (pid: number) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return (
      (Number(fields[11]) + Number(fields[12])) /
      Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
    )
  }
  const start = cpu(agentPid)
  await settle(20_000)
  const percent = ((cpu(agentPid) - start) / 20) * 100
  rows.push({ figure: 'agent, idle CPU', unit: '%', value: percent, target: '0.0' })
  process.stdout.write(`agent, idle CPU: ${percent.toFixed(2)} % (target 0.0)\n`)
  save('rss', rows)
} finally {
  await Promise.all([stop(up.child), stop(agent)])
  rmSync(dir, { recursive: true, force: true })
}

/** Processor time of processes and their descendants: unlike the clock on the wall it says the same on a busy machine. */
import { readdirSync, readFileSync } from 'node:fs'

/** Clock ticks per second of /proc; 100 on every Linux that Node runs on. */
const TICKS = 100

/** `/proc/<pid>/stat` of every process: fields after the command in brackets. */
function allStats(): Map<number, readonly number[]> {
  const stats = new Map<number, readonly number[]>()
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      const text = readFileSync(`/proc/${entry}/stat`, 'utf8')
      // After the command in brackets: state, ppid, …, utime and stime, then those of waited-for children.
      const fields = text
        .slice(text.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number)
      stats.set(Number(entry), fields)
    } catch {
      // It ended meanwhile.
    }
  return stats
}

/** The processes and all that descend from them. */
function familyOf(
  pids: readonly number[],
  stats: ReadonlyMap<number, readonly number[]>,
): Set<number> {
  const family = new Set(pids)
  for (const pid of family)
    for (const [child, fields] of stats) if (fields[1] === pid) family.add(child)
  return family
}

/** Seconds of user and system time, of children that have ended too. */
export function cpuSeconds(pids: readonly number[]): number {
  const stats = allStats()
  let ticks = 0
  for (const pid of familyOf(pids, stats))
    for (const i of [11, 12, 13, 14]) ticks += stats.get(pid)?.[i] ?? 0
  return ticks / TICKS
}

/** The same for each process that descends from this one, it included. */
export function cpuOfEach(root: number): Map<number, number> {
  const stats = allStats()
  const spent = (pid: number) => (stats.get(pid)?.[11] ?? 0) + (stats.get(pid)?.[12] ?? 0)
  return new Map([...familyOf([root], stats)].map((pid) => [pid, spent(pid) / TICKS]))
}

/**
 * Processors that are slower than they are: each process gets its own control group (v1, as root) with a part of a processor. So two of a
 * machine's processors can stand for several, and what one process is bound by shows.
 */
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup/cpu'
/** Microseconds: short, so that a pause is no longer than a busy machine makes them anyway. */
const PERIOD = 10_000

/** Answers whether it could be done. The groups go with `unthrottle`, once the processes are gone. */
export function throttle(pids: Iterable<number>, part: number): boolean {
  try {
    for (const pid of pids) {
      const dir = join(ROOT, `postern-bench-${pid}`)
      mkdirSync(dir, { recursive: true })
      writeFileSync(join(dir, 'cpu.cfs_period_us'), String(PERIOD))
      writeFileSync(join(dir, 'cpu.cfs_quota_us'), String(Math.round(PERIOD * part)))
      writeFileSync(join(dir, 'cgroup.procs'), String(pid))
    }
    return true
  } catch {
    return false
  }
}

export function unthrottle(pids: Iterable<number>): void {
  for (const pid of pids)
    try {
      writeFileSync(join(ROOT, 'cgroup.procs'), String(pid))
    } catch {
      // It is gone; its group is empty.
    } finally {
      try {
        rmdirSync(join(ROOT, `postern-bench-${pid}`))
      } catch {
        // There was none.
      }
    }
}

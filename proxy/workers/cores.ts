/**
 * How many processors this process may use: those it may run on, and no more than its control group's quota, which Node 20 does not
 * look at (libuv does from 1.49).
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'

const ROOT = '/sys/fs/cgroup'

type Read = (file: string) => string | undefined

const readFile: Read = (file) => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** `max 100000`, `150000 100000`: microseconds of each period (cgroup v2, `cpu.max`). Undefined: no quota. */
function quotaV2(text: string | undefined): number | undefined {
  const [quota = '', period = ''] = (text ?? '').trim().split(/\s+/)
  const processors = Number(quota) / Number(period)
  return processors > 0 && Number.isFinite(processors) ? processors : undefined
}

/** The group and all that it is in: each may set a limit. */
function* upwards(group: string): Generator<string, void, undefined> {
  for (let at = path.posix.normalize(`/${group}`); ; at = path.posix.dirname(at)) {
    yield at
    if (at === '/') return
  }
}

/** Processors by quota, a fraction; Infinity without one. https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files */
export function cpuQuota(read: Read = readFile): number {
  const groups = (read('/proc/self/cgroup') ?? '').split('\n')
  const v2 = groups.find((line) => line.startsWith('0::'))?.slice(3) ?? '/'
  const v1 = groups.find((line) => /^\d+:([^:]*,)?cpu(,[^:]*)?:/.test(line))?.replace(/^.*:/, '')
  const limits = [...upwards(v2)].map((at) => quotaV2(read(path.join(ROOT, at, 'cpu.max'))))
  if (v1 !== undefined)
    for (const at of upwards(v1)) {
      const dir = path.join(ROOT, 'cpu', at)
      const quota = read(path.join(dir, 'cpu.cfs_quota_us'))
      limits.push(quotaV2(quota && `${quota} ${read(path.join(dir, 'cpu.cfs_period_us')) ?? ''}`))
    }
  return Math.min(Infinity, ...limits.filter((limit) => limit !== undefined))
}

/** Workers for `auto`: one for each processor that is there in full, at least one. */
export const usableCores = (
  read: Read = readFile,
  parallel: number = availableParallelism(),
): number => Math.max(1, Math.min(parallel, Math.floor(cpuQuota(read))))

/**
 * One process for each data directory. The lock is a file that names its holder by pid, start time and boot, so that a lock left
 * by a `kill -9`, by a reboot or by a pid that somebody else got meanwhile counts for nothing.
 */
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../core/errors.ts'
import { systemRandom, type Random } from '../../core/random.ts'

export interface DataDirLock {
  release(): Promise<void>
}

interface Holder {
  readonly pid: number
  readonly started: string
  readonly boot: string
}

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Field 22 of /proc/<pid>/stat; the command in field 2 may hold spaces and parentheses. Empty where there is no /proc. */
function startTime(pid: number): string {
  const stat = read(`/proc/${pid}/stat`)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}
const bootId = (): string => read('/proc/sys/kernel/random/boot_id').trim()

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const value = JSON.parse(text) as Partial<Holder>
    if (typeof value.pid !== 'number' || value.pid < 1) return undefined
    return { pid: value.pid, started: value.started ?? '', boot: value.boot ?? '' }
  } catch {
    return undefined
  }
}

const holds = (holder: Holder): boolean =>
  alive(holder.pid) && holder.boot === bootId() && holder.started === startTime(holder.pid)

/** Throws ERR_DATA_DIR_HELD with the holder's pid. */
export async function lockDataDir(
  dataDir: string,
  random: Random = systemRandom,
): Promise<DataDirLock> {
  const path = join(dataDir, 'agent.lock')
  const own = JSON.stringify({
    pid: process.pid,
    started: startTime(process.pid),
    boot: bootId(),
    nonce: random.bytes(8).toString('hex'),
  })
  const temporary = `${path}.${random.bytes(6).toString('hex')}`
  await writeFile(temporary, own, { mode: 0o600, flag: 'wx' })
  try {
    // A few rounds: each either takes the lock, meets a living holder, or clears a dead one away.
    for (let round = 0; round < 5; round++) {
      try {
        // link() fails when the name exists and shows the whole content at once when it does not.
        await link(temporary, path)
        return { release: () => releaseOwn(path, own) }
      } catch (e) {
        if ((e as NodeJS.ErrnoException).code !== 'EEXIST') throw e
      }
      await clearDead(path, dataDir, random)
    }
    throw new AppError('ERR_DATA_DIR_HELD', `several processes want ${dataDir} at once`)
  } finally {
    await rm(temporary, { force: true })
  }
}

async function clearDead(path: string, dataDir: string, random: Random): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return
  const holder = parseHolder(text)
  if (holder && holds(holder))
    throw new AppError('ERR_DATA_DIR_HELD', `process ${holder.pid} holds ${dataDir}`)
  // Moved, not deleted: if another process took the lock between our reading and this, we moved its lock and give it back.
  const aside = `${path}.${random.bytes(6).toString('hex')}.dead`
  await rename(path, aside).catch(() => undefined)
  const moved = await readFile(aside, 'utf8').catch(() => undefined)
  if (moved !== undefined && moved !== text) await link(aside, path).catch(() => undefined)
  await rm(aside, { force: true })
}

async function releaseOwn(path: string, own: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === own) await rm(path, { force: true })
}

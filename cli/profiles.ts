/**
 * Which profile a command uses: what the options or POSTERN_PROFILE say, else the cluster that `postern up` runs from this
 * directory, else the one that was logged into last.
 */
import { lstatSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError, isAppError } from '../core/errors.ts'
import { isResourceName } from '../core/domain/name.ts'
import type { Cli } from './cli.ts'
import { loadProfile, type StoredProfile } from './connect/profile.ts'
import type { ProfileOptions } from './host.ts'
import { knownCluster } from './known-cluster.ts'
import { HintedError } from './ui/report.ts'

/** Somebody else's directory in /tmp must not decide whom we talk to: own, and private. */
function isOwn(dir: string): boolean {
  const stat = lstatSync(dir, { throwIfNoEntry: false })
  return (
    stat !== undefined &&
    stat.isDirectory() &&
    stat.uid === process.getuid?.() &&
    (stat.mode & 0o777) === 0o700
  )
}

const currentFile = (cli: Cli): string => path.join(cli.home, 'current')

/** A directory when it looks like one, else a name under ~/.postern. */
function named(cli: Cli, given: string): string {
  if (given.includes('/') || given === '.' || given === '..') return path.resolve(cli.cwd, given)
  if (!isResourceName(given))
    throw new AppError('ERR_USAGE', `--profile: "${given}" is neither a profile's name nor a path`)
  return path.join(cli.home, given)
}

/** The directory; whether a profile lies there is another question. undefined: none was ever made. */
export async function profileDir(cli: Cli, options: ProfileOptions): Promise<string | undefined> {
  if (options.profile !== undefined && options.dataDir !== undefined)
    throw new AppError('ERR_USAGE', 'give either --profile or --data-dir, not both')
  if (options.profile !== undefined) return named(cli, options.profile)
  if (options.dataDir !== undefined) return path.resolve(cli.cwd, options.dataDir, 'profile')
  if (cli.env.profile !== undefined) return named(cli, cli.env.profile)
  const local = path.join(cli.cwd, 'postern-data')
  if (isOwn(local) && isOwn(path.join(local, 'profile'))) return path.join(local, 'profile')
  const current = await readFile(currentFile(cli), 'utf8').catch(() => '')
  return isResourceName(current.trim()) ? path.join(cli.home, current.trim()) : undefined
}

export async function openProfile(cli: Cli, options: ProfileOptions): Promise<StoredProfile> {
  const dir = await profileDir(cli, options)
  if (dir === undefined) throw new AppError('ERR_PROFILE_MISSING')
  try {
    return await loadProfile(dir)
  } catch (e) {
    const known =
      isAppError(e) && e.code === 'ERR_PROFILE_MISSING' ? await knownCluster(dir) : undefined
    if (!known) throw e
    throw new HintedError(
      new AppError('ERR_PROFILE_MISSING', `not signed in to ${known.cluster}`, { cause: e }),
      'run postern login',
    )
  }
}

/** Makes this cluster's profile the one that commands use by default. */
export async function setCurrent(cli: Cli, cluster: string): Promise<void> {
  await mkdir(cli.home, { recursive: true, mode: 0o700 })
  const file = currentFile(cli)
  const temporary = `${file}.${cli.random.bytes(6).toString('hex')}`
  await writeFile(temporary, `${cluster}\n`, { mode: 0o600 })
  await rename(temporary, file).catch((cause: unknown) => {
    throw new AppError('ERR_INTERNAL', `${file} cannot be written`, { cause })
  })
}

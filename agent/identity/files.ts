/**
 * Private files that survive a crash at any moment: written beside, synced, renamed over, and the directory synced, so that a
 * reader finds the whole old content or the whole new one. Each is 0600 in a directory of 0700.
 */
import { constants } from 'node:fs'
import { chmod, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { AppError } from '../../core/errors.ts'
import { systemRandom, type Random } from '../../core/random.ts'

const code = (e: unknown): string | undefined => (e as NodeJS.ErrnoException).code

async function syncDir(path: string): Promise<void> {
  const dir = await open(path, constants.O_RDONLY)
  try {
    await dir.sync()
  } finally {
    await dir.close()
  }
}

/** Replaces `path` with `content`. When it resolves, the content survives a loss of power. */
export async function writeAtomic(
  path: string,
  content: string | Uint8Array,
  random: Random = systemRandom,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${random.bytes(6).toString('hex')}.tmp`)
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    await rename(temporary, path)
  } catch (e) {
    await rm(temporary, { force: true })
    throw e
  }
  await syncDir(dirname(path))
}

/** The content, or undefined when there is no such file. Refuses what is larger than `max` bytes before reading it. */
export async function readPrivate(path: string, max: number): Promise<string | undefined> {
  let file
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (e) {
    if (code(e) === 'ENOENT') return undefined
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${path} cannot be read`, { cause: e })
  }
  try {
    const stat = await file.stat()
    if (!stat.isFile() || stat.size > max || (stat.mode & 0o022) !== 0)
      throw new AppError('ERR_DATA_DIR_UNSAFE', `${path} is not a private file of the agent`)
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true })
  await syncDir(dirname(path)).catch(() => undefined)
}

/** Makes a directory of ours, or checks it: owned by this user, writable by nobody else. Ends with mode 0700. */
export async function ensurePrivateDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (e) {
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${path} cannot be made: ${code(e) ?? 'error'}`, {
      cause: e,
    })
  }
  const stat = await lstat(path)
  if (!stat.isDirectory())
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${path} is not a directory (or a symbolic link)`)
  const uid = process.getuid?.()
  if (uid !== undefined && stat.uid !== uid)
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${path} belongs to uid ${stat.uid}, not to ${uid}`)
  if ((stat.mode & 0o022) !== 0)
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${path} is writable by others`)
  if ((stat.mode & 0o777) !== 0o700) await chmod(path, 0o700)
}

/** Removes what a crash in the middle of `writeAtomic` left behind. */
export async function sweepTemporaries(dir: string): Promise<void> {
  for (const name of await readdir(dir))
    if (/^\..+\.[0-9a-f]{12}\.tmp$/.test(name)) await rm(join(dir, name), { force: true })
}

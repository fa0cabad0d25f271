/** Reading and writing the files of a profile: private, whole or absent, never half written. */
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { systemRandom, type Random } from '../../core/random.ts'

const codeOf = (e: unknown): string | undefined => (e as NodeJS.ErrnoException).code

/** Throws ERR_PROFILE_MISSING when there is no such directory, ERR_DATA_DIR_UNSAFE when it is not private. */
export async function checkPrivate(dir: string): Promise<void> {
  const found = await stat(dir).catch((e: unknown) => {
    if (codeOf(e) === 'ENOENT' || codeOf(e) === 'ENOTDIR') return undefined
    throw new AppError('ERR_PROFILE_MISSING', `${dir} cannot be read`, { cause: e })
  })
  if (!found?.isDirectory())
    throw new AppError('ERR_PROFILE_MISSING', `there is no profile in ${dir}`)
  const uid = process.getuid?.()
  const mine = uid === undefined || uid === 0 || found.uid === uid
  if (!mine || (found.mode & 0o077) !== 0)
    throw new AppError('ERR_DATA_DIR_UNSAFE', `${dir} must be yours alone (mode 0700)`)
}

/** The text of a file, undefined when there is none. Throws ERR_PROFILE_MISSING when it cannot be read or is too large. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    const bytes = await readFile(path)
    if (bytes.length <= LIMITS.configFile.value) return bytes.toString('utf8')
  } catch (e) {
    if (codeOf(e) === 'ENOENT') return undefined
    throw new AppError('ERR_PROFILE_MISSING', `${path} cannot be read`, { cause: e })
  }
  throw new AppError('ERR_PROFILE_MISSING', `${path} is too large`)
}

/** Puts a file in place at once: readers see the old or the new one, also after a crash. */
export async function replaceFile(
  dir: string,
  name: string,
  text: string,
  random: Random = systemRandom,
): Promise<void> {
  const temporary = join(dir, `.${name}.${random.bytes(6).toString('hex')}`)
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, join(dir, name)).catch(async (e: unknown) => {
    await rm(temporary, { force: true })
    throw e
  })
}

/** Makes the directory, or makes an existing one of ours private. */
export async function makePrivate(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await checkPrivate(dir)
}

/** What was renamed into the directory stays renamed after a power cut. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

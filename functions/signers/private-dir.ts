/** Directories and files that only their owner may read: CA keys live in them. Anything else is refused, never repaired. */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'

const unsafe = (path: string, what: string): AppError =>
  new AppError('ERR_DATA_DIR_UNSAFE', `${path}: ${what}`)

function checkOwner(path: string, kind: 'directory' | 'file'): void {
  const stat = lstatSync(path)
  if (kind === 'directory' ? !stat.isDirectory() : !stat.isFile())
    throw unsafe(path, `is not a ${kind}`)
  const uid = process.getuid?.()
  if (uid !== undefined && stat.uid !== uid) throw unsafe(path, 'belongs to another user')
  if ((stat.mode & 0o077) !== 0)
    throw unsafe(path, `others may use it; chmod ${kind === 'file' ? '600' : '700'} it`)
}

/** Makes the directory with mode 0700 if it is absent, checks it otherwise. */
export function privateDir(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
    chmodSync(path, 0o700)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      mkdirSync(path, { recursive: true, mode: 0o700 })
    } else if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  checkOwner(path, 'directory')
}

/**
 * The file's content; when it is absent, `make()` is stored first. Written beside it, synced, then linked into place: a key
 * is there whole or not at all, and of two first starts both read the same one.
 */
export function loadOrCreate(
  dir: string,
  name: string,
  random: Random,
  make: () => Buffer,
): Buffer {
  const path = join(dir, name)
  try {
    checkOwner(path, 'file')
    return readFileSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const draft = join(dir, `.${name}.${random.bytes(6).toString('hex')}`)
  const fd = openSync(draft, 'wx', 0o600)
  try {
    writeSync(fd, make())
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  try {
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(draft, { force: true })
  }
  syncDir(dir)
  checkOwner(path, 'file')
  return readFileSync(path)
}

function syncDir(dir: string): void {
  const fd = openSync(dir, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

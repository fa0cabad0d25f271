/** Reads the join token when, and only when, an identity is needed. */
import { open } from 'node:fs/promises'
import { AppError } from '../core/errors.ts'
import { isTokenSecret } from '../core/domain/token-secret.ts'
import type { TokenSource } from './config.ts'

/** A token is 52 characters; a file this large is something else. */
const FILE_MAX = 4096

const unfitFile =
  (what: string, path: string) =>
  (why: string, cause?: unknown): AppError =>
    new AppError('ERR_TOKEN_NEEDED', `the ${what} ${path} ${why}`, { cause })

/** The text of a file that is closed to other users; undefined when there is none. Throws ERR_TOKEN_NEEDED for what is unfit. */
export async function readSecretFile(path: string, what: string): Promise<string | undefined> {
  const unfit = unfitFile(what, path)
  let file
  try {
    file = await open(path, 'r')
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw unfit('cannot be read', e)
  }
  try {
    const stat = await file.stat()
    if (!stat.isFile() || stat.size > FILE_MAX) throw unfit('is too large or is no file')
    if ((stat.mode & 0o007) !== 0) throw unfit('is open to every user: make it mode 0600')
    return (await file.readFile('utf8')).trim()
  } finally {
    await file.close()
  }
}

/**
 * Throws ERR_TOKEN_NEEDED with a clear line for whoever runs the agent; the content is never part of it. ERR_TOKEN_AWAITED for a
 * file that is not there or empty: what prepares a machine (cloud-init, a secret store's agent) may write it after we have started.
 */
export async function readToken(source: TokenSource | undefined): Promise<string> {
  if (!source) throw new AppError('ERR_TOKEN_NEEDED')
  if (source.kind === 'value') return source.secret
  const { path } = source
  const unfit = unfitFile('token file', path)
  const secret = await readSecretFile(path, 'token file')
  if (secret === undefined || secret === '') {
    const why = secret === undefined ? 'does not exist' : 'is empty'
    throw new AppError('ERR_TOKEN_AWAITED', `the token file ${path} ${why}`)
  }
  if (!isTokenSecret(secret)) throw unfit('holds no join token (pst_join_ and 43 characters)')
  return secret
}

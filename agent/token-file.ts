/** Reads the join token when, and only when, an identity is needed. */
import { open } from 'node:fs/promises'
import { AppError } from '../core/errors.ts'
import { isTokenSecret } from '../core/domain/token.ts'
import type { TokenSource } from './config.ts'

/** A token is 52 characters; a file this large is something else. */
const FILE_MAX = 4096

/** Throws ERR_TOKEN_NEEDED with a clear line for whoever runs the agent; the content is never part of it. */
export async function readToken(source: TokenSource | undefined): Promise<string> {
  if (!source) throw new AppError('ERR_TOKEN_NEEDED')
  if (source.kind === 'value') return source.secret
  const { path } = source
  const unfit = (what: string, cause?: unknown): AppError =>
    new AppError('ERR_TOKEN_NEEDED', `the token file ${path} ${what}`, { cause })
  let file
  try {
    file = await open(path, 'r')
  } catch (e) {
    const missing = (e as NodeJS.ErrnoException).code === 'ENOENT'
    throw unfit(missing ? 'does not exist' : 'cannot be read', e)
  }
  try {
    const stat = await file.stat()
    if (!stat.isFile() || stat.size > FILE_MAX) throw unfit('is not a file that holds a token')
    if ((stat.mode & 0o007) !== 0) throw unfit('is open to every user: make it mode 0600')
    const secret = (await file.readFile('utf8')).trim()
    if (!isTokenSecret(secret)) throw unfit('holds no join token (pst_join_ and 43 characters)')
    return secret
  } finally {
    await file.close()
  }
}

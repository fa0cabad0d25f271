/**
 * Giving up root, for good, and making sure of it. A process that runs for a user has that user's ids and groups and no way
 * back; a doubt ends it before anything of the user's runs.
 */
import { readFileSync } from 'node:fs'
import { AppError } from '../../../../core/errors.ts'
import type { Account } from './accounts.ts'

const refuse = (internal: string): AppError =>
  new AppError('ERR_INTERNAL', undefined, { internal: `privileges: ${internal}` })

/** Becomes `account`. A process that is not root can only stay who it is. */
export function becomeUser(account: Account): void {
  if (process.getuid?.() !== 0) {
    if (process.getuid?.() !== account.uid) throw refuse('only root can become another user')
    return
  }
  // Missing from the types of this Node version.
  const { initgroups } = process as unknown as { initgroups: (user: string, gid: number) => void }
  initgroups(account.name, account.gid)
  process.setgid?.(account.gid)
  const groups = new Set(process.getgroups?.() ?? [])
  process.setuid?.(account.uid)
  verify(account, groups)
}

function verify(account: Account, groups: ReadonlySet<number>): void {
  const status = new Map(
    readFileSync('/proc/self/status', 'utf8')
      .split('\n')
      .map((line) => line.split(':\t') as [string, string]),
  )
  const numbers = (key: string): number[] =>
    (status.get(key) ?? '').trim().split(/\s+/).filter(Boolean).map(Number)
  // Real, effective, saved and file system ids.
  const all = (ids: number[], wanted: number): boolean =>
    ids.length === 4 && ids.every((id) => id === wanted)
  if (!all(numbers('Uid'), account.uid)) throw refuse('a user id was kept')
  if (!all(numbers('Gid'), account.gid)) throw refuse('a group id was kept')
  const now = numbers('Groups')
  if (now.some((group) => !groups.has(group) && group !== account.gid))
    throw refuse('a group was kept')
  if (account.uid === 0) return
  for (const set of ['CapPrm', 'CapEff', 'CapAmb'])
    if (!/^0*$/.test((status.get(set) ?? '').trim())) throw refuse(`capabilities were kept: ${set}`)
  if (regains(() => process.setuid?.(0)) || process.geteuid?.() === 0)
    throw refuse('root can be regained')
  if (account.gid !== 0 && !groups.has(0) && regains(() => process.setgid?.(0)))
    throw refuse('the root group can be regained')
}

function regains(attempt: () => void): boolean {
  try {
    attempt()
    return true
  } catch {
    return false
  }
}

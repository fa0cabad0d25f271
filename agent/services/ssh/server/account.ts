/** Whether a unix account may be used at all, whoever asks. The line is for the user; undefined means yes. */
import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import type { Account } from '../helper/accounts.ts'

export interface Host {
  /** Who the agent runs as. */
  readonly agentUid: number
  /** /etc/nologin stands: the machine is going down. */
  readonly nologin: boolean
}

export const thisHost = (): Host => ({
  agentUid: process.getuid?.() ?? -1,
  nologin: existsSync('/etc/nologin'),
})

/** Programs that say no to whoever they are the shell of. */
const NO_SHELLS: ReadonlySet<string> = new Set(['nologin', 'false'])

export function accountRefusal(
  login: string,
  account: Account | undefined,
  host: Host,
): string | undefined {
  if (!account) return `there is no user ${login} on this node`
  // A second name for uid 0 would be root without "root" in anybody's logins.
  if (account.uid === 0 && account.name !== 'root')
    return `user ${login} is root by another name; ask for login root`
  if (host.agentUid !== 0 && account.uid !== host.agentUid)
    return `this agent does not run as root and serves only its own user, not ${login}`
  if (NO_SHELLS.has(basename(account.shell))) return `user ${login} may not log in on this node`
  if (host.nologin && account.uid !== 0) return 'this node takes no logins at the moment'
  return undefined
}

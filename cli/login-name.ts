/** Who somebody is on this machine, as a user's name of the cluster. */
import { userInfo } from 'node:os'
import type { Cli } from './cli.ts'
import { usage } from './ui/report.ts'

export function loginName(cli: Pick<Cli, 'env'>): string {
  try {
    return userInfo().username
  } catch {
    // A uid without an entry in passwd, as containers have them.
    if (cli.env.user !== undefined) return cli.env.user
    throw usage('who are you?', 'give --user NAME')
  }
}

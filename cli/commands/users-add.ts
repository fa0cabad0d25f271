/** `postern users add NAME`: a user that the cluster knows by password. */
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import { words, type ProfileOptions } from '../host.ts'
import { readPassword } from '../input.ts'
import { pathOf } from '../resource-names.ts'

export interface UsersAddOptions extends ProfileOptions {
  readonly roles: string
  readonly logins?: string | undefined
  readonly passwordFile?: string | undefined
}

export async function usersAdd(cli: Cli, name: string, options: UsersAddOptions): Promise<void> {
  // The connection first: nobody should think of a password twice for a cluster that is not there.
  await withClient(cli, options, async (client) => {
    const ask = `Password for ${name}`
    const password = await readPassword(cli, { file: options.passwordFile, ask, twice: true })
    const traits = options.logins === undefined ? {} : { traits: { logins: words(options.logins) } }
    await client.api.request('PUT', pathOf('user', name), {
      kind: 'user',
      version: 'v2',
      metadata: { name },
      spec: { roles: words(options.roles), ...traits, password },
    })
  })
  cli.note(`user ${name} is there; postern login --user ${name} signs in`)
}

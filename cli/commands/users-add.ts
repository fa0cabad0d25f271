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
  const ask = `Password for ${name}`
  const password = await readPassword(cli, { file: options.passwordFile, ask, twice: true })
  const user = {
    kind: 'user',
    version: 'v2',
    metadata: { name },
    spec: {
      roles: words(options.roles),
      ...(options.logins !== undefined && { traits: { logins: words(options.logins) } }),
      password,
    },
  }
  await withClient(cli, options, (client) => client.api.request('PUT', pathOf('user', name), user))
  cli.note(`user ${name} is there; postern login --user ${name} signs in`)
}

/** `postern tokens rm NAME`. */
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'

export async function tokensRm(cli: Cli, name: string, options: ProfileOptions): Promise<void> {
  await withClient(cli, options, (client) =>
    client.api.request('DELETE', `/v1/tokens/${encodeURIComponent(name)}`),
  )
  cli.note(`token ${name} is revoked`)
}

/** `postern rm KIND/NAME`. */
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { parseResource, pathOf } from '../resource-names.ts'
import { usage } from '../ui/report.ts'

export async function rm(cli: Cli, what: string, options: ProfileOptions): Promise<void> {
  const { kind, name } = parseResource(what)
  if (name === undefined) throw usage(`rm: name one ${kind}, as ${kind}/NAME`)
  await withClient(cli, options, (client) => client.api.request('DELETE', pathOf(kind, name)))
  cli.note(`${kind}/${name} is removed`)
}

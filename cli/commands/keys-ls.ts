/** `postern keys ls`. */
import { keyDocument } from '../../core/api/documents.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { painter } from '../ui/style.ts'
import { table } from '../ui/table.ts'
import { inTime } from '../ui/time.ts'
import { scopeText } from './keys-add.ts'

export async function keysLs(
  cli: Cli,
  options: ProfileOptions & { readonly json?: true | undefined },
): Promise<void> {
  const keys = await withClient(cli, options, (client) => client.list(keyDocument, '/v1/keys'))
  keys.sort((a, b) => a.status.created.localeCompare(b.status.created))
  if (options.json) return cli.out(JSON.stringify(keys, null, 2))
  const now = cli.clock.now()
  const rows = keys.map(({ metadata, spec }) => [
    spec.name,
    spec.owner,
    metadata.expires === undefined ? 'until revoked' : inTime(Date.parse(metadata.expires), now),
    metadata.name,
    spec.scopes.map(scopeText).join(' '),
  ])
  const header = ['NAME', 'OWNER', 'EXPIRES', 'ID', 'SCOPES']
  for (const line of table(header, rows, painter(cli.stdout, cli.env.noColor))) cli.out(line)
}

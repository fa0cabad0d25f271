/** `postern tokens ls`. */
import { tokenDocument } from '../../core/api/documents.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { painter } from '../ui/style.ts'
import { table } from '../ui/table.ts'
import { inTime } from '../ui/time.ts'

export async function tokensLs(
  cli: Cli,
  options: ProfileOptions & { readonly json?: true | undefined },
): Promise<void> {
  const tokens = await withClient(cli, options, (client) =>
    client.list(tokenDocument, '/v1/tokens'),
  )
  tokens.sort((a, b) => a.status.created.localeCompare(b.status.created))
  if (options.json) return cli.out(JSON.stringify(tokens, null, 2))
  const now = cli.clock.now()
  const rows = tokens.map((token) => [
    token.metadata.name,
    token.spec.roles.join(','),
    token.spec.join_method,
    `${token.status.uses}/${token.spec.max_uses ?? 'any'}`,
    inTime(Date.parse(token.metadata.expires), now),
    token.status.state,
  ])
  const header = ['NAME', 'ROLES', 'METHOD', 'USES', 'EXPIRES', 'STATE']
  for (const line of table(header, rows, painter(cli.stdout, cli.env.noColor))) cli.out(line)
}

/** `postern get KIND[/NAME]`: resources in the shape that `create` takes. */
import { stringify } from 'yaml'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { DOCUMENTS, parseResource, pathOf } from '../resource-names.ts'

export async function get(
  cli: Cli,
  what: string,
  options: ProfileOptions & { readonly json?: true | undefined },
): Promise<void> {
  const { kind, name } = parseResource(what)
  const schema = DOCUMENTS[kind]
  const found: object[] = await withClient(cli, options, async (client) =>
    name === undefined
      ? client.list(schema, pathOf(kind))
      : [await client.get(schema, pathOf(kind, name))],
  )
  if (options.json) return cli.out(JSON.stringify(name === undefined ? found : found[0], null, 2))
  // `status` is the server's: a file with it could not be applied again.
  const files = found.map((item) =>
    Object.fromEntries(Object.entries(item).filter(([key]) => key !== 'status')),
  )
  for (const [i, file] of files.entries())
    cli.out(`${i === 0 ? '' : '---\n'}${stringify(file).trimEnd()}`)
  if (found.length === 0) cli.note(`no ${kind}s`)
}

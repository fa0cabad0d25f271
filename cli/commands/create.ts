/** `postern create -f FILE`: applies resource files. Applying the same file again changes nothing. */
import { parseAllDocuments } from 'yaml'
import * as z from 'zod'
import { tokenCreated } from '../../core/api/documents.ts'
import { AppError, badField, isAppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { parse } from '../../core/parse.ts'
import { nestsTooDeep } from '../../core/yaml-depth.ts'
import { withClient, type Client } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { readInput } from '../input.ts'
import { CREATABLE, pathOf, type Kind } from '../resource-names.ts'

/** Just enough to know where to send it; the server checks every field and names the wrong one. */
const head = z.looseObject({
  kind: z.enum(CREATABLE, `use one of ${CREATABLE.join(', ')}`),
  metadata: z.looseObject({ name: z.string().optional() }).optional(),
})
type Document = z.output<typeof head>

/** All documents of the file, or an error that says which one is wrong: nothing is sent before all of them are read. */
export function parseDocuments(text: string): Document[] {
  if (nestsTooDeep(text)) throw badField('(document)', 'nested too deep')
  const documents = parseAllDocuments(text, { uniqueKeys: true, prettyErrors: true })
  if (!Array.isArray(documents)) return []
  return documents
    .filter((document) => document.contents !== null)
    .map((document, i) => {
      const broken = document.errors[0]
      const where = `document ${i + 1}`
      if (broken) throw badField(where, broken.message.split('\n')[0] ?? 'not valid YAML')
      let value: unknown
      try {
        value = document.toJS({ maxAliasCount: LIMITS.yamlAliases.value })
      } catch (cause) {
        throw new AppError('ERR_INPUT_INVALID', `${where}: too many aliases`, { cause })
      }
      return parse(head, value)
    })
}

async function apply(client: Client, document: Document): Promise<string> {
  const { kind } = document
  const name = document.metadata?.name
  if (kind === 'token') {
    const known = name === undefined ? false : await exists(client, 'token', name)
    // A token is made once: its secret was shown then, and its counter must not start again.
    if (known) return `token/${name} is there already, unchanged`
    const made = parse(tokenCreated, await client.api.request('POST', '/v1/tokens', document))
    const { secret } = made
    return `token/${made.name} created${secret === undefined ? '' : `, secret (shown this once): ${secret}`}`
  }
  if (kind === 'lock' && name === undefined) {
    const made = await client.api.request('POST', '/v1/locks', document)
    return `lock/${parse(z.looseObject({ metadata: z.looseObject({ name: z.string() }) }), made).metadata.name} created`
  }
  if (name === undefined) throw badField('metadata.name', 'it is needed')
  const { status } = await client.api.send('PUT', pathOf(kind, name), document)
  return `${kind}/${name} ${status === 201 ? 'created' : 'applied'}`
}

async function exists(client: Client, kind: Kind, name: string): Promise<boolean> {
  try {
    await client.api.request('GET', pathOf(kind, name))
    return true
  } catch (e) {
    if (isAppError(e) && e.code === 'ERR_NOT_FOUND') return false
    throw e
  }
}

export async function create(
  cli: Cli,
  options: ProfileOptions & { readonly file: string },
): Promise<void> {
  const documents = parseDocuments(
    await readInput(cli, options.file, LIMITS.resourceDocument.value),
  )
  if (documents.length === 0) throw badField('(document)', 'the file is empty')
  await withClient(cli, options, async (client) => {
    for (const document of documents) cli.out(await apply(client, document))
  })
}

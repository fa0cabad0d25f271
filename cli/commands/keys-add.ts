/** `postern keys add NAME`: makes an API key and shows its secret once. */
import { keyCreated } from '../../core/api/documents.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import { words, type ProfileOptions } from '../host.ts'
import { usage } from '../ui/report.ts'
import { inTime } from '../ui/time.ts'

export interface KeysAddOptions extends ProfileOptions {
  readonly scope: readonly string[]
  readonly ttl?: string | undefined
  readonly owner?: string | undefined
  readonly json?: true | undefined
}

/** `node,app:list,read`. Which kinds and verbs there are is the server's to say. */
function scopeOf(text: string): { resources: string[]; verbs: string[] } {
  const [kinds = '', verbs = '', ...more] = text.split(':')
  const scope = { resources: words(kinds), verbs: words(verbs) }
  if (more.length > 0 || scope.resources.length === 0 || scope.verbs.length === 0)
    throw usage(`--scope: "${text}" is not of the form kinds:verbs, as token:create`)
  return scope
}

export async function keysAdd(cli: Cli, name: string, options: KeysAddOptions): Promise<void> {
  const body = {
    name,
    scopes: options.scope.map(scopeOf),
    ttl: options.ttl,
    owner: options.owner,
  }
  const made = await withClient(cli, options, (client) =>
    client.send(keyCreated, 'POST', '/v1/keys', body),
  )
  if (options.json) return cli.out(JSON.stringify(made, null, 2))
  cli.out(`key      ${made.secret}`)
  cli.out(`id       ${made.id}`)
  cli.out(`owner    ${made.owner}`)
  cli.out(`scopes   ${made.scopes.map(scopeText).join(' ')}`)
  cli.out(`expires  ${made.expires} (${inTime(Date.parse(made.expires), cli.clock.now())})`)
  cli.note('The key is not shown again. A program has it in POSTERN_TOKEN, or sends it as')
  cli.note('  authorization: Bearer <key>')
}

export const scopeText = (scope: {
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}): string => `${scope.resources.join(',')}:${scope.verbs.join(',')}`

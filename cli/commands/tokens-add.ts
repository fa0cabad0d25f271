/** `postern tokens add`: mints a token, shows its secret once, and says what to run on the machine. */
import { tokenCreated, type TokenCreated } from '../../core/api/documents.ts'
import { AppError } from '../../core/errors.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import { labelWords, words, type ProfileOptions } from '../host.ts'
import { inTime } from '../ui/time.ts'

export interface TokensAddOptions extends ProfileOptions {
  readonly type: string
  readonly ttl?: string | undefined
  readonly uses?: string | undefined
  readonly name?: string | undefined
  readonly labels?: string | undefined
  readonly method?: string | undefined
  readonly json?: true | undefined
}

function usesOf(text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined
  if (text === 'any') return null
  if (!/^\d{1,9}$/.test(text))
    throw new AppError('ERR_USAGE', '--uses: use a number, or "any" for any number')
  return Number(text)
}

/** One line for the machine. The secret goes into a file: an argument could be read by every user of that machine. */
const lineFor = (token: TokenCreated, secret: string, proxy: string): string =>
  [
    `(umask 077; echo ${secret} > postern.token;`,
    `postern agent configure --proxy-server ${proxy}`,
    ...token.ca_pins.map((pin) => `--ca-pin ${pin}`),
    `--type ${token.roles.join(',').toLowerCase()}`,
    `--auth-token "$PWD/postern.token" > postern.yaml)`,
    `&& postern agent start -c postern.yaml`,
  ].join(' ')

export async function tokensAdd(cli: Cli, options: TokensAddOptions): Promise<void> {
  const body = {
    roles: words(options.type),
    ttl: options.ttl,
    max_uses: usesOf(options.uses),
    name: options.name,
    labels:
      options.labels === undefined ? undefined : labelWords(words(options.labels), '--labels'),
    join_method: options.method,
  }
  await withClient(cli, options, async (client) => {
    const token = await client.send(tokenCreated, 'POST', '/v1/tokens', body)
    if (options.json) return cli.out(JSON.stringify(token, null, 2))
    const { secret, registration_secret: registration } = token
    if (secret !== undefined) cli.out(`token    ${secret}`)
    if (registration !== undefined) cli.out(`secret   ${registration}`)
    cli.out(`name     ${token.name}`)
    cli.out(`roles    ${token.roles.join(', ')}`)
    cli.out(`uses     ${token.max_uses ?? 'any number'}`)
    cli.out(`expires  ${token.expires} (${inTime(Date.parse(token.expires), cli.clock.now())})`)
    cli.note('')
    if (secret === undefined) {
      cli.note(`How a machine joins with it: docs/join/${token.join_method}.md`)
      return
    }
    cli.note('The secret is not shown again. On the machine:')
    const proxy = client.target.proxies[0] ?? new URL(client.target.api).host
    cli.note(`  ${lineFor(token, secret, proxy)}`)
  })
}

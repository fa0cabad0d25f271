/** `postern status` and `postern whoami`: who you are here, for how long, and what you may do. */
import { whoami, type Whoami } from '../../core/api/login.ts'
import { fromSeconds, iso } from '../../core/clock.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { inTime } from '../ui/time.ts'

type Options = ProfileOptions & { readonly json?: true | undefined }

/** Exit code 3 when the time of the certificate is over. */
export async function status(cli: Cli, options: Options): Promise<void> {
  await withClient(cli, options, async (client) => {
    const { profile, target } = client
    const now = await client.get(whoami, '/v1/whoami')
    const { cluster, api, proxies } = target
    const facts = {
      cluster,
      api,
      proxies,
      ...(profile
        ? { user: profile.user, expires: iso(profile.expires), profile: profile.dir }
        : {}),
      caller: now,
    }
    if (options.json) return cli.out(JSON.stringify(facts, null, 2))
    cli.out(`cluster  ${cluster} (${api})`)
    if (profile) {
      cli.out(`user     ${profile.user}`)
      cli.out(`until    ${iso(profile.expires)} (${inTime(profile.expires, cli.clock.now())})`)
    }
    cli.out(`calls    as ${now.kind} ${now.name}`)
    if (now.roles.length > 0) cli.out(`roles    ${now.roles.join(', ')}`)
    if (now.logins.length > 0) cli.out(`logins   ${now.logins.join(', ')}`)
    if (profile) cli.out(`profile  ${profile.dir}`)
  })
}

const KIND = {
  operator: 'API key',
  workload: 'id token',
  user: 'user',
  agent: 'agent',
  proxy: 'proxy',
} as const satisfies Record<Whoami['kind'], string>

/** As the control plane sees this command: whose credential, and what it may do now. */
export async function whoAmI(cli: Cli, options: Options): Promise<void> {
  const now = await withClient(cli, options, (client) => client.get(whoami, '/v1/whoami'))
  if (options.json) return cli.out(JSON.stringify(now, null, 2))
  cli.out(`${KIND[now.kind].padEnd(9)}${now.name}`)
  if (now.owner !== undefined) cli.out(`owner    ${now.owner}`)
  if (now.issuer !== undefined) cli.out(`issuer   ${now.issuer}`)
  if (now.roles.length > 0) cli.out(`roles    ${now.roles.join(', ')}`)
  if (now.logins.length > 0) cli.out(`logins   ${now.logins.join(', ')}`)
  if (now.expires !== undefined) {
    const end = fromSeconds(now.expires)
    cli.out(`until    ${iso(end)} (${inTime(end, cli.clock.now())})`)
  }
  const rights = Object.entries(now.permissions)
  for (const [i, [kind, verbs]] of rights.entries())
    cli.out(`${i === 0 ? 'may      ' : '         '}${kind}: ${verbs.join(', ')}`)
  if (rights.length === 0) cli.out('may      use resources; change nothing')
}

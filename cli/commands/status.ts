/** `postern status`: who you are here, and for how long. Exit code 3 when that time is over. */
import { whoami } from '../../core/api/login.ts'
import { iso } from '../../core/clock.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { inTime } from '../ui/time.ts'

export async function status(
  cli: Cli,
  options: ProfileOptions & { readonly json?: true | undefined },
): Promise<void> {
  await withClient(cli, options, async (client) => {
    const { profile } = client
    const now = await client.get(whoami, '/v1/whoami')
    const facts = {
      cluster: profile.cluster,
      api: profile.api,
      proxies: profile.proxies,
      user: profile.user,
      expires: iso(profile.expires),
      profile: profile.dir,
      caller: now,
    }
    if (options.json) return cli.out(JSON.stringify(facts, null, 2))
    cli.out(`cluster  ${profile.cluster} (${profile.api})`)
    cli.out(`user     ${profile.user}`)
    cli.out(`until    ${facts.expires} (${inTime(profile.expires, cli.clock.now())})`)
    cli.out(`calls    as ${now.kind} ${now.name}`)
    if (now.roles.length > 0) cli.out(`roles    ${now.roles.join(', ')}`)
    if (now.logins.length > 0) cli.out(`logins   ${now.logins.join(', ')}`)
    cli.out(`profile  ${profile.dir}`)
  })
}

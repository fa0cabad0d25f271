/** `postern lock`: takes access away at once. */
import { lockDocument } from '../../core/api/documents.ts'
import { usage } from '../ui/report.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'

export interface LockOptions extends ProfileOptions {
  readonly user?: string | undefined
  readonly agent?: string | undefined
  readonly role?: string | undefined
  readonly service?: string | undefined
  readonly token?: string | undefined
  readonly ttl?: string | undefined
  readonly message?: string | undefined
  readonly json?: true | undefined
}

export async function lock(cli: Cli, options: LockOptions): Promise<void> {
  const { user, agent, role, service, token, ttl, message } = options
  const target = { user, agent, role, service, token }
  const given = Object.values(target).filter((one) => one !== undefined)
  if (given.length !== 1)
    throw usage('lock: name exactly one of --user, --agent, --role, --service, --token')
  const made = await withClient(cli, options, (client) =>
    client.send(lockDocument, 'POST', '/v1/locks', { target, ttl, message }),
  )
  if (options.json) return cli.out(JSON.stringify(made, null, 2))
  cli.out(made.metadata.name)
  const until =
    made.spec.expires === undefined ? 'until it is removed' : `until ${made.spec.expires}`
  cli.note(`locked ${until}; postern rm lock/${made.metadata.name} takes it back`)
}

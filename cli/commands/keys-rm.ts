/** `postern keys rm NAME|ID`. */
import { keyDocument } from '../../core/api/documents.ts'
import { AppError } from '../../core/errors.ts'
import { parseId } from '../../core/ids.ts'
import { withClient, type Client } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { usage } from '../ui/report.ts'

/** Names are for people, so several keys may have one; ids are not. */
async function idOf(client: Client, given: string): Promise<string> {
  if (parseId('key', given)) return given
  const keys = await client.list(keyDocument, '/v1/keys')
  const [first, ...more] = keys.filter((key) => key.spec.name === given)
  if (!first) throw new AppError('ERR_NOT_FOUND', `there is no key ${given}`)
  if (more.length === 0) return first.metadata.name
  const ids = [first, ...more].map((key) => key.metadata.name).join(', ')
  throw usage(`keys rm: several keys are called ${given}`, `name one by its id: ${ids}`)
}

export async function keysRm(cli: Cli, given: string, options: ProfileOptions): Promise<void> {
  await withClient(cli, options, async (client) =>
    client.api.request('DELETE', `/v1/keys/${await idOf(client, given)}`),
  )
  cli.note(`key ${given} is revoked`)
}

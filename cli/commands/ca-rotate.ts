/** `postern ca rotate` and `postern ca rollback`. */
import { caDocument, type CaDocument } from '../../core/api/cas.ts'
import { CA_KINDS, CA_PHASES, type CaKind } from '../../core/domain/ca.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { usage } from '../ui/report.ts'
import { nextStep } from './ca-status.ts'

export interface CaOptions extends ProfileOptions {
  readonly type: string
  readonly json?: true | undefined
}
export interface RotateOptions extends CaOptions {
  readonly phase?: string | undefined
  readonly grace?: string | undefined
  readonly force?: true | undefined
}

function kindOf(text: string): CaKind {
  const kind = CA_KINDS.find((one) => one === text)
  if (kind) return kind
  throw usage(`--type: use ${CA_KINDS.join(', ')}`)
}

async function move(cli: Cli, options: CaOptions, what: string, body: object): Promise<void> {
  const kind = kindOf(options.type)
  const made = await withClient(cli, options, (client) =>
    client.send(caDocument, 'POST', `/v1/cas/${kind}/${what}`, body),
  )
  if (options.json) return cli.out(JSON.stringify(made, null, 2))
  cli.out(`${made.name}  ${made.phase}  signs ${made.signs.pin}`)
  cli.note(nextStep(made, cli.clock.now()))
  for (const line of advice(made)) cli.note(line)
}

/** What an operator does meanwhile that nobody else can. */
function advice({ name, phase, signs, trusted }: CaDocument): string[] {
  const coming = trusted.find((key) => key.pin !== signs.pin)?.pin
  if (name === 'host' && phase === 'init' && coming !== undefined)
    return [
      `new agents: add the pin ${coming} to ca_pin; those that run learn it by themselves`,
      'sshd and known_hosts files outside the cluster: take the new line of /v1/ca before update_servers',
    ]
  if (name === 'user' && phase === 'init')
    return ['servers outside the cluster that trust the user CA: take the new line of /v1/ca now']
  return []
}

export async function caRotate(cli: Cli, options: RotateOptions): Promise<void> {
  const { phase, grace, force } = options
  if (phase !== undefined && !CA_PHASES.some((one) => one === phase && one !== 'rollback'))
    throw usage('--phase: use init, update_clients, update_servers or standby')
  await move(cli, options, 'rotate', { phase, grace, force })
}

export const caRollback = (cli: Cli, options: CaOptions): Promise<void> =>
  move(cli, options, 'rollback', {})

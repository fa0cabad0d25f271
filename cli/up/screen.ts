/** What `up` shows: short, calm, ready to paste, without a secret but the operator key of the very first start. */
import path from 'node:path'
import type { AppError } from '../../core/errors.ts'
import type { Paint } from '../ui/style.ts'
import { safeText } from '../ui/style.ts'
import type { Owner } from './first-user.ts'
import type { ShownAgent } from './local-agents.ts'

export interface ScreenInput {
  readonly cluster: string
  /** `https://host:port`. */
  readonly origin: string
  readonly cwd: string
  readonly dataDir: string
  readonly owner: Owner
  readonly caPins: readonly string[]
  /** The operator key, at the first start only. */
  readonly newKey: string | undefined
  /** Why the owner could not sign in. */
  readonly refused: AppError | undefined
  readonly agent: ShownAgent | undefined
  /** Reached from this machine alone? */
  readonly loopback: boolean
}

/** For a POSIX shell; plain words stay as they are. */
export const shellWord = (text: string): string =>
  /^[A-Za-z0-9@%+=:,./_-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`

/** Relative where that is shorter, as people type it. */
function shown(cwd: string, file: string): string {
  const relative = path.relative(cwd, file)
  return shellWord(relative.startsWith('..') || relative === '' ? file : relative)
}

function agentLine({ name, id, joined, error }: ShownAgent): string {
  if (error) return `${name}: ${safeText(error.message)}`
  const how = joined ? 'joined with a one-time token' : 'back with its identity'
  return `${name}${id === undefined ? '' : ` (${id})`}, ${how}`
}

const standing = (refused: AppError | undefined): string => {
  if (!refused) return 'certificate for 12 hours, renewed while this runs'
  const why = refused.code === 'ERR_LOCKED' ? 'locked' : 'without the rights of an operator'
  return `${why}; postern up --break-glass takes that away, and the audit log tells of it`
}

export function screen(input: ScreenInput, paint: Paint): string[] {
  const file = (name: string) => shown(input.cwd, path.join(input.dataDir, name))
  const host = input.origin.replace('https://', '')
  const command = (text: string) => `  ${paint('cyan', text)}`
  const lines = [
    `${paint('bold', 'Postern')} is up: cluster ${paint('bold', input.cluster)}`,
    '',
    `  API and proxy   ${input.origin}`,
    `  data            ${shown(input.cwd, input.dataDir)}`,
    `  you are         ${input.owner.user}, ${standing(input.refused)}`,
  ]
  if (input.agent) lines.push(`  agent           ${agentLine(input.agent)}`)
  if (input.owner.root)
    lines.push(
      '',
      `Running as root: the agent can open sessions for any user of this machine; your certificate`,
      `grants the login "${input.owner.login}" and no other.`,
    )
  if (input.newKey !== undefined)
    lines.push(
      '',
      `Operator key, shown this once and kept in ${file('profile/operator.key')}:`,
      `  ${input.newKey}`,
    )
  const ends = ['', paint('dim', `Ctrl-C stops it; ${file('up.log')} has the details.`)]
  if (input.refused) return [...lines, ...ends]
  lines.push('', 'Try next, in another terminal:', '')
  if (input.agent) lines.push(command(`ssh -F ${file('ssh_config')} ${input.agent.name}`))
  lines.push(
    command(
      `curl --cacert ${file('ca.pem')} -H @${file('operator.header')} -d '{"roles":["Node"]}' ${input.origin}/v1/tokens`,
    ),
  )
  if (input.loopback) {
    lines.push(command(`npx postern agent start -c ${file('agent2.yaml')}`))
  } else {
    lines.push(
      '',
      'On another machine, with a token from the line above in /etc/postern.token (mode 0600):',
      '',
      command(
        `postern agent configure --proxy-server ${host} --ca-pin ${input.caPins[0] ?? ''} --auth-token /etc/postern.token > /etc/postern.yaml && postern agent start -c /etc/postern.yaml`,
      ),
    )
  }
  return [...lines, ...ends]
}

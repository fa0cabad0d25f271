/** `postern doctor`: tests every hop from this machine and says what to fix. */
import { existsSync } from 'node:fs'
import type { Command } from '@commander-js/extra-typings'
import { AppError } from '../../core/errors.ts'
import type { Cli } from '../cli.ts'
import { DATA_DIR, examples, JSON_FLAG, PROFILE, type Host, type ProfileOptions } from '../host.ts'
import type { Examination } from '../doctor/examination.ts'
import { profileDir } from '../profiles.ts'

const AGENT_CONFIG = '/etc/postern.yaml'

export interface DoctorOptions extends ProfileOptions {
  readonly config?: string | undefined
  readonly json?: true | undefined
  readonly aws?: true | undefined
  readonly stack?: string | undefined
  readonly proxiesStack?: string | undefined
  readonly region?: string | undefined
}

export function doctorCommand(program: Command, host: Host): void {
  program
    .command('doctor')
    .description('test every hop from this machine and say what to fix')
    .addHelpText(
      'before',
      examples(
        'postern doctor                           the way from you to the cluster',
        'postern doctor web-1                     and on to a node',
        'postern doctor app/grafana               or to an app',
        'postern doctor -c /etc/postern.yaml      the agent of this machine',
        'postern doctor --aws --region eu-west-1  a deployed cluster, with your AWS credentials',
      ),
    )
    .argument('[resource]', 'a node, or app/NAME')
    .option(
      '-c, --config <file>',
      'the agent’s configuration (default: /etc/postern.yaml where no profile is)',
    )
    .option('--aws', 'a deployed cluster: stacks, table, keys, functions, proxies, alarms')
    .option('--stack <name>', 'with --aws: the stack of the control plane', 'Postern')
    .option('--proxies-stack <name>', 'with --aws: that of the proxies', 'PosternProxies')
    .option('--region <region>', 'with --aws: where it is (default: as the AWS tools find it)')
    .option(...JSON_FLAG)
    .option(...PROFILE)
    .option(...DATA_DIR)
    .action(async (resource, options) => host.exit(await doctor(host.cli, resource, options)))
}

/** Answers the exit code: 0 when nothing failed, else that of the first failure. */
export async function doctor(
  cli: Cli,
  resource: string | undefined,
  options: DoctorOptions,
): Promise<number> {
  if (options.config !== undefined && resource !== undefined)
    throw new AppError('ERR_USAGE', 'doctor: an agent’s machine has no resource to reach')
  if (options.aws === true && (options.config !== undefined || resource !== undefined))
    throw new AppError('ERR_USAGE', 'doctor: --aws looks at a whole account, not at one resource')
  const { createExamination } = await import('../doctor/examination.ts')
  const exam = createExamination(cli, options.json === true)
  await examine(cli, exam, resource, options)
  const { findings, exitCode } = exam
  const count = (status: string) => findings.filter((f) => f.status === status).length
  if (options.json === true)
    cli.out(JSON.stringify({ ok: exitCode === 0, checks: findings }, undefined, 2))
  else if (exitCode === 0)
    cli.out(
      `\n${count('ok')} checks are good${count('warn') > 0 ? `, ${count('warn')} with a warning` : ''}`,
    )
  else cli.out(`\n${count('fail')} failed; the first one is where to begin`)
  return exitCode
}

async function examine(
  cli: Cli,
  exam: Examination,
  resource: string | undefined,
  options: DoctorOptions,
): Promise<void> {
  if (options.aws === true) {
    const { examineAws } = await import('../doctor/aws/account.ts')
    return examineAws(cli, exam, options)
  }
  const config = options.config ?? (await agentHere(cli, options, resource))
  if (config === undefined) {
    const { checkResourceWord, examineUser } = await import('../doctor/user.ts')
    if (resource !== undefined) checkResourceWord(resource)
    return examineUser(cli, exam, { ...options, resource })
  }
  const { examineAgent } = await import('./agent-doctor.ts')
  return examineAgent(cli, exam, config)
}

/** The agent's file, where nobody has signed in and there is one. */
async function agentHere(
  cli: Cli,
  options: DoctorOptions,
  resource: string | undefined,
): Promise<string | undefined> {
  if (resource !== undefined || (await profileDir(cli, options)) !== undefined) return undefined
  return existsSync(AGENT_CONFIG) ? AGENT_CONFIG : undefined
}

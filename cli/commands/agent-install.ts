/** `postern agent install`: the unit of systemd, for the configuration that is there. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { loadAgentConfig } from '../../agent/config-file.ts'
import { AppError, reasonOf } from '../../core/errors.ts'
import type { Cli } from '../cli.ts'
import { systemdUnit } from '../systemd-unit.ts'

const NAME = 'postern-agent.service'
const UNIT = `/etc/systemd/system/${NAME}`

export interface AgentInstallOptions {
  readonly config: string
  readonly print?: true | undefined
  readonly start: boolean
}

/** An installed package is started by its launcher, which stays when the package below it is replaced. */
const LAUNCHER = '/usr/local/bin/postern'
const commandOf = ({ self }: Cli): string[] => {
  const packed =
    path.basename(self.script) === 'postern.mjs' &&
    path.basename(path.dirname(self.script)) === 'lib'
  return packed && existsSync(LAUNCHER) ? [LAUNCHER] : [self.node, self.script]
}

async function systemctl(...args: string[]): Promise<void> {
  await promisify(execFile)('systemctl', args).catch((cause: unknown) => {
    const said = (cause as { stderr?: string }).stderr?.trim()
    throw new AppError(
      'ERR_CONFIG_INVALID',
      `systemctl ${args.join(' ')}: ${said || reasonOf(cause)}`,
    )
  })
}

export async function agentInstall(cli: Cli, options: AgentInstallOptions): Promise<void> {
  const config = path.resolve(cli.cwd, options.config)
  // A file that the agent refuses is not put under a supervisor that would start it for ever.
  const agent = await loadAgentConfig(config)
  const unit = systemdUnit({
    command: commandOf(cli),
    config,
    dataDir: agent.dataDir,
    sessions: agent.ssh !== undefined,
  })
  if (options.print) return void cli.stdout.write(unit)
  if (process.getuid?.() !== 0)
    throw new AppError('ERR_USAGE', 'units are written by root: run it with sudo, or with --print')
  if (!existsSync('/run/systemd/system'))
    throw new AppError('ERR_USAGE', 'systemd does not run here; --print shows the unit')
  await writeFile(UNIT, unit, { mode: 0o644 })
  await systemctl('daemon-reload')
  await systemctl('enable', NAME)
  // An agent that runs already goes on with the new program.
  if (options.start) await systemctl('restart', NAME)
  cli.note(`${UNIT} is ${options.start ? 'running' : 'enabled'}; its log: journalctl -u ${NAME}`)
}

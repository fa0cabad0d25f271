/** `postern ssh` and `postern scp`: stock OpenSSH with the profile's ssh_config, and nothing of our own in between. */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import path from 'node:path'
import { AppError } from '../../core/errors.ts'
import { requireCurrent } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { openProfile } from '../profiles.ts'

/** The exit code of ssh, or 128 and the signal's number, as a shell tells it. */
export async function openSsh(
  cli: Cli,
  program: 'ssh' | 'scp',
  args: readonly string[],
  options: ProfileOptions,
): Promise<number> {
  const profile = await openProfile(cli, options)
  // ssh would say "Permission denied (publickey)", which helps nobody.
  requireCurrent(cli, profile)
  const config = path.join(profile.dir, 'ssh_config')
  const child = spawn(program, ['-F', config, ...args], { stdio: 'inherit' })
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  // The terminal sends Ctrl-C to ssh as well; what is sent to us alone is passed on.
  const pass = (signal: NodeJS.Signals) => void (signal === 'SIGINT' || child.kill(signal))
  for (const signal of signals) process.on(signal, pass)
  return new Promise<number>((resolve, reject) => {
    child.on('error', (cause) =>
      reject(
        new AppError('ERR_UPSTREAM_UNREACHABLE', `${program} is not installed here`, { cause }),
      ),
    )
    child.on('close', (code, signal) =>
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)),
    )
  }).finally(() => {
    for (const signal of signals) process.off(signal, pass)
  })
}

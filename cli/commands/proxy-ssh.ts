/** `postern proxy ssh %h:%p [--profile DIR]`: run by every ssh, so it parses its two words itself. */
import type { Cli } from '../cli.ts'
import { runStdio } from '../connect/stdio.ts'
import { profileDir } from '../profiles.ts'
import { AppError } from '../../core/errors.ts'

export async function proxySsh(cli: Cli, args: readonly string[]): Promise<number> {
  let target: string | undefined
  let profile: string | undefined
  for (let i = 0; i < args.length; i++) {
    const word = args[i] ?? ''
    if (word === '--profile') profile = args[++i]
    else if (word.startsWith('--profile=')) profile = word.slice('--profile='.length)
    else if (word.startsWith('-') || target !== undefined)
      throw new AppError('ERR_USAGE', `proxy ssh: unknown argument "${word}"`)
    else target = word
  }
  if (target === undefined) throw new AppError('ERR_USAGE', 'proxy ssh: name the node, as %h:%p')
  const dir = await profileDir(cli, { profile })
  if (dir === undefined) throw new AppError('ERR_PROFILE_MISSING')
  // ssh sends it when it leaves, right behind its last bytes: those, and the end after them, are still to be brought to the
  // agent, which otherwise keeps the session for a client that might come back.
  process.on('SIGHUP', () => undefined)
  await runStdio({ profileDir: dir, target, httpsProxy: cli.env.httpsProxy })
  return 0
}

/** `postern config`: the block for ~/.ssh/config. */
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { openProfile } from '../profiles.ts'
import { sshConfigBlock } from '../ssh-config.ts'

export async function config(cli: Cli, options: ProfileOptions): Promise<void> {
  const profile = await openProfile(cli, options)
  cli.stdout.write(
    sshConfigBlock({ cluster: profile.cluster, profileDir: profile.dir, self: cli.self }),
  )
}

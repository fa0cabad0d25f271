/** `postern logout`: deletes what signing in left here. The certificate itself ends by its own time; a lock ends it sooner. */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../core/errors.ts'
import type { Cli } from '../cli.ts'
import { openProfile } from '../profiles.ts'

/** The address and the CA stay, so that the next login needs neither. */
const SECRET = ['key.pem', 'key.pem-cert.pub', 'user-x509.pem', 'operator.key', 'routes'] as const

export async function logout(
  cli: Cli,
  options: { readonly profile?: string | undefined },
): Promise<void> {
  const { dir, user, cluster, operatorKey } = await openProfile(cli, options)
  if (operatorKey !== undefined)
    throw new AppError(
      'ERR_CONFLICT',
      `${dir} belongs to postern up, which would sign in again; stop that instead`,
    )
  for (const name of SECRET) await rm(path.join(dir, name), { force: true, recursive: true })
  cli.note(`${user} is signed out of ${cluster} on this machine`)
}

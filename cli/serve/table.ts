/** The table that a served part shares with the others: where the file says, else where the AWS SDK finds it. */
import { readFile } from 'node:fs/promises'
import { AppError, reasonOf } from '../../core/errors.ts'
import { sleep } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import { openRemoteTable, type RemoteTable } from '../../functions/store/remote.ts'
import type { Cli } from '../cli.ts'
import type { ServeConfig } from './config.ts'

/** The two lines of an AWS credentials file that count here, of its first profile. */
async function keyIn(path: string): Promise<{ id: string; secret: string }> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AppError('ERR_CONFIG_INVALID', `store.credentials_file: ${path} cannot be read`, {
      cause,
    })
  })
  const id = /^\s*aws_access_key_id\s*=\s*(\S+)/m.exec(text)?.[1]
  const secret = /^\s*aws_secret_access_key\s*=\s*(\S+)/m.exec(text)?.[1]
  if (id !== undefined && secret !== undefined) return { id, secret }
  throw new AppError('ERR_CONFIG_INVALID', `store.credentials_file: ${path} holds no key`)
}

export async function openTable(
  cli: Pick<Cli, 'clock' | 'random' | 'env'>,
  { store }: Pick<ServeConfig, 'store'>,
): Promise<RemoteTable> {
  const endpoint = store.endpoint ?? cli.env.dynamoEndpoint
  const key = store.credentialsFile === undefined ? undefined : await keyIn(store.credentialsFile)
  // Somebody's own endpoint is in no region, and the SDK signs for one all the same.
  const region = store.region ?? (endpoint === undefined ? undefined : (cli.env.region ?? 'local'))
  return openRemoteTable({
    tableName: store.table,
    clock: cli.clock,
    random: cli.random,
    endpoint,
    region,
    key,
  })
}

/** Waits for the store: parts that are started together need not be started in order. */
export async function untilThere(
  table: RemoteTable,
  cli: Pick<Cli, 'clock'>,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (let told = false; ; told = true) {
    try {
      return await table.ensure()
    } catch (e) {
      signal.throwIfAborted()
      if (!told) log.warn('store.unreachable', { reason: reasonOf(e) })
      await sleep(cli.clock, LIMITS.policyPoll.value, signal)
    }
  }
}

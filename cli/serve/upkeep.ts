/** `postern backup`, `restore` and `migrate`: on a stopped cluster's directory, or on a table of DynamoDB. */
import { createReadStream, existsSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { createLog } from '../../agent/log.ts'
import { ensurePrivateDir } from '../../agent/identity/files.ts'
import { AppError } from '../../core/errors.ts'
import { silentLog } from '../../core/log.ts'
import { openLocalEngine, TABLE } from '../../functions/local-store.ts'
import { openStores } from '../../functions/store/open.ts'
import { openRemoteTable } from '../../functions/store/remote.ts'
import { backupLines, LINE_MAX } from '../../functions/store/upkeep/backup.ts'
import { migrate } from '../../functions/store/upkeep/migrate.ts'
import { adopt, restore as restoreTable } from '../../functions/store/upkeep/restore.ts'
import type { TableAt } from '../../functions/store/upkeep/scan.ts'
import type { Cli } from '../cli.ts'
import { HintedError, usage } from '../ui/report.ts'

export interface TableOptions {
  readonly dataDir?: string | undefined
  readonly table?: string | undefined
  readonly region?: string | undefined
}

async function withTable<T>(
  cli: Cli,
  options: TableOptions,
  make: boolean,
  work: (table: TableAt) => Promise<T>,
): Promise<T> {
  const { clock, random } = cli
  if ((options.dataDir === undefined) === (options.table === undefined))
    throw usage('which table?', 'give --data-dir DIR of a stopped cluster, or --table NAME')
  if (options.table !== undefined) {
    const { region, table: tableName } = options
    const remote = openRemoteTable({ tableName, clock, random, region: region ?? cli.env.region })
    try {
      return await work(remote.at())
    } finally {
      remote.close()
    }
  }
  const dir = path.resolve(cli.cwd, options.dataDir ?? '')
  const store = path.join(dir, 'store')
  if (!make && !existsSync(store))
    throw new AppError('ERR_NOT_FOUND', `there is no cluster in ${dir}`)
  await ensurePrivateDir(dir)
  const local = await openLocalEngine({ path: store, clock, log: silentLog }).catch(
    (e: unknown) => {
      if (e instanceof AppError && e.code === 'ERR_DATA_DIR_HELD')
        throw new HintedError(
          e,
          'stop postern up, or serve store; or give --table and its endpoint',
        )
      throw e
    },
  )
  try {
    return await work({ client: local.client, tableName: TABLE })
  } finally {
    await local.close()
  }
}

export async function backup(cli: Cli, name: string, options: TableOptions): Promise<void> {
  const file = path.resolve(cli.cwd, name)
  if (existsSync(file)) throw new AppError('ERR_USAGE', `${file} is there already`)
  const part = `${file}.part`
  await withTable(cli, options, false, async (table) => {
    await rm(part, { force: true })
    const out = await open(part, 'wx', 0o600)
    let items = -2
    try {
      for await (const line of backupLines(table, cli.clock)) {
        await out.write(line)
        items += 1
      }
      await out.sync()
    } catch (e) {
      await rm(part, { force: true })
      throw e
    } finally {
      await out.close()
    }
    await rename(part, file)
    cli.out(`${items} items in ${file}`)
  })
  if (options.dataDir !== undefined)
    cli.note(
      `The CA keys are not in it: keep ${path.join(options.dataDir, 'ca')} as well, encrypted and elsewhere`,
    )
}

/** Lines as they were written: `\n` alone ends one. */
async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = ''
  const input = createReadStream(file, { encoding: 'utf8' })
  for await (const chunk of input as AsyncIterable<string>) {
    rest += chunk
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    yield* lines
    if (rest.length > LINE_MAX) throw new AppError('ERR_INPUT_INVALID', `${file} is no backup`)
  }
  if (rest !== '') yield rest
}

export async function restore(
  cli: Cli,
  name: string | undefined,
  options: TableOptions & { readonly inPlace?: true | undefined },
): Promise<void> {
  const { clock, random } = cli
  if ((name === undefined) !== (options.inPlace === true))
    throw usage('restore what?', 'give a file, or --in-place for a table that is there')
  await withTable(cli, options, true, async (table) => {
    const deps = { ...table, clock, random }
    const file = name === undefined ? undefined : path.resolve(cli.cwd, name)
    if (file !== undefined && !existsSync(file))
      throw new AppError('ERR_NOT_FOUND', `there is no file ${file}`)
    const done =
      file === undefined
        ? { identities: (await adopt(deps)).identities }
        : await restoreTable(deps, () => linesOf(file))
    const stores = openStores({ ...deps, cursorKey: random.bytes(32) })
    await stores.events.append({
      type: 'store.restore',
      outcome: 'ok',
      actor: 'owner',
      resource: undefined,
      session: undefined,
      reason: undefined,
      fields: 'header' in done ? { backup: done.header.created, items: done.items } : {},
    })
    cli.out(
      'header' in done
        ? `${done.items} items of ${done.header.cluster}, as of ${done.header.created}`
        : `${done.identities} identities are marked`,
    )
    cli.note(
      'Locks, revocations, users and roles since then are gone: set them again. Agents that joined since join again.',
    )
  })
}

export async function migrateTable(cli: Cli, options: TableOptions): Promise<void> {
  const log = createLog({ output: 'stderr', severity: 'INFO', format: 'text' }, cli.clock)
  await withTable(cli, options, false, async (table) => {
    const { from, to, items } = await migrate({ ...table, log })
    cli.out(
      from === to ? `version ${to}, nothing to do` : `version ${from} → ${to}, ${items} items`,
    )
  })
}

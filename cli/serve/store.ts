/** `postern serve store`: the embedded engine for several processes of one machine, over the DynamoDB protocol. */
import path from 'node:path'
import { createLog } from '../../agent/log.ts'
import { ensurePrivateDir, readPrivate, writeAtomic } from '../../agent/identity/files.ts'
import { AppError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import { createHttpFront, type StoreClientKey } from '../../functions/store/embedded/http-front.ts'
import { KEY_ACCESS } from '../../functions/store/key-access.ts'
import { openLocalEngine, TABLE } from '../../functions/local-store.ts'
import { migrate } from '../../functions/store/upkeep/migrate.ts'
import type { Cli } from '../cli.ts'
import { address } from '../listen.ts'
import { uncaughtInto } from '../ui/uncaught.ts'
import { isLoopback } from '../up/names.ts'
import { listen } from '../up/listener.ts'
import { closer, untilStopped } from '../up/stopping.ts'
import type { ServeConfig } from './config.ts'

/** Files in the data directory, as AWS tools read them: the control plane's key, and one that opens a proxy's rows alone. */
const KEYS = [
  { file: 'store-credentials', id: 'postern-api', access: undefined },
  { file: 'store-credentials-proxy', id: 'postern-proxy', access: KEY_ACCESS.proxy },
] as const
const FILE_MAX = 4096

async function keyOf(
  dir: string,
  which: (typeof KEYS)[number],
  random: Random,
): Promise<StoreClientKey> {
  const { id, access } = which
  const file = path.join(dir, which.file)
  const known = /aws_secret_access_key = (\S+)/.exec((await readPrivate(file, FILE_MAX)) ?? '')?.[1]
  const secret = known ?? random.bytes(32).toString('base64url')
  if (known === undefined)
    await writeAtomic(
      file,
      `[default]\naws_access_key_id = ${id}\naws_secret_access_key = ${secret}\n`,
      random,
    )
  return { id, secret, access }
}

export async function serveStore(cli: Cli, config: ServeConfig): Promise<void> {
  const { clock, random } = cli
  const { dataDir, storeListen } = config
  if (!isLoopback(storeListen.host))
    throw new AppError(
      'ERR_CONFIG_INVALID',
      'store_service.listen_addr: the store is for this machine; use 127.0.0.1',
    )
  const log = createLog(config.log, clock)
  const stopping = closer()
  try {
    await ensurePrivateDir(dataDir)
    const store = await openLocalEngine({ path: path.join(dataDir, 'store'), clock, log })
    stopping.push(() => store.close())
    await migrate({ client: store.client, tableName: TABLE, log })
    uncaughtInto(log)
    const stopped = untilStopped(log)
    const keys = await Promise.all(KEYS.map((which) => keyOf(dataDir, which, random)))
    const server = createHttpFront({
      handle: (op, data) => store.engine.handle(op, data),
      keys,
      clock,
      random,
      log,
    })
    const port = await listen(server, storeListen)
    stopping.push(
      () =>
        new Promise((resolve) => {
          server.close(resolve)
          server.closeIdleConnections()
          // What is under way is answered; nobody is waited for longer.
          clock.after(LAST_ANSWERS, () => server.closeAllConnections())
        }),
    )
    cli.out(`AWS_ENDPOINT_URL_DYNAMODB=http://${address(storeListen.host, port)}`)
    for (const { file } of KEYS) cli.note(`key ${path.join(dataDir, file)}`)
    log.info('store.serving', { port })
    await stopped
  } finally {
    await stopping.run(cli)
  }
}

/** Milliseconds. */
const LAST_ANSWERS = 2000

/** The embedded engine of one machine, opened, with its table, and swept now and then of what has run out. */
import type { Clock } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import { embeddedClient, openEmbeddedStore, type EmbeddedStore } from './store/embedded/open.ts'
import { ensureTable, openStores } from './store/open.ts'
import type { Stores } from './store/stores.ts'
import { migrate } from './store/upkeep/migrate.ts'

/** Name of the table in an embedded engine. */
export const TABLE = 'postern'

export interface LocalStores {
  readonly stores: Stores
  readonly close: () => Promise<void>
}

export interface LocalEngine {
  readonly engine: EmbeddedStore
  readonly client: ReturnType<typeof embeddedClient>
  readonly close: () => Promise<void>
}

export async function openLocalEngine(options: {
  /** The LevelDB directory; undefined keeps everything in memory. */
  readonly path: string | undefined
  readonly clock: Clock
  readonly log: Log
}): Promise<LocalEngine> {
  const { path, clock, log } = options
  const engine = await openEmbeddedStore({ path, clock })
  const client = embeddedClient(engine)
  let sweeping: Promise<void> = Promise.resolve()
  try {
    await ensureTable(client, TABLE)
  } catch (error) {
    await engine.close()
    throw error
  }
  const timer = clock.every(LIMITS.storeSweep.value, () => {
    sweeping = engine.sweep().then(
      (count) => (count > 0 ? log.info('store.swept', { count }) : undefined),
      (error: unknown) => log.warn('store.sweep_failed', { reason: String(error) }),
    )
  })
  return {
    engine,
    client,
    async close() {
      timer.cancel()
      await sweeping
      client.destroy()
      await engine.close()
    },
  }
}

export async function openLocalStores(options: {
  /** As of openLocalEngine. */
  readonly path: string | undefined
  readonly cursorKey: Uint8Array
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}): Promise<LocalStores> {
  const { cursorKey, clock, random } = options
  const { client, close } = await openLocalEngine(options)
  await migrate({ client, tableName: TABLE, log: options.log }).catch(async (error: unknown) => {
    await close()
    throw error
  })
  return {
    stores: openStores({ client, tableName: TABLE, cursorKey, clock, random }),
    close,
  }
}

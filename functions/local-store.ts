/** The embedded engine of one machine, opened, with its table, and swept now and then of what has run out. */
import type { Clock } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import { embeddedClient, openEmbeddedStore } from './store/embedded/open.ts'
import { ensureTable, openStores } from './store/open.ts'
import type { Stores } from './store/stores.ts'

const TABLE = 'postern'

export interface LocalStores {
  readonly stores: Stores
  readonly close: () => Promise<void>
}

export async function openLocalStores(options: {
  /** The LevelDB directory; undefined keeps everything in memory. */
  readonly path: string | undefined
  readonly cursorKey: Uint8Array
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}): Promise<LocalStores> {
  const { path, cursorKey, clock, random, log } = options
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
    stores: openStores({ client, tableName: TABLE, cursorKey, clock, random }),
    async close() {
      timer.cancel()
      await sweeping
      client.destroy()
      await engine.close()
    },
  }
}

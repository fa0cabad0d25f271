/**
 * LevelDB, the very copy that dynalite brings along, opened by us so that we decide about batches, syncing and iterators.
 * Values are JSON text: encoded once by whoever writes, and a reader can never change what is stored.
 */
import { createRequire } from 'node:module'
import { AppError } from '../../../core/errors.ts'
import type { Range } from './ranges.ts'

interface LevelIterator {
  nextv(size: number): Promise<string[]>
  close(): Promise<void>
}
type LevelWrite =
  | { readonly type: 'put'; readonly key: string; readonly value: string }
  | { readonly type: 'del'; readonly key: string }

export interface Level {
  open(): Promise<void>
  close(): Promise<void>
  /** undefined when absent. */
  getSync(key: string): string | undefined
  /** All or nothing, also when the process is killed in the middle. With `sync`, also when the power fails. */
  batch(writes: LevelWrite[], options: { sync: boolean }): Promise<void>
  values(range: Range): LevelIterator
  keys(range: Range): LevelIterator
  clear(range: Range): Promise<void>
}
type Constructor = new (...parameters: unknown[]) => Level

const fromDynalite = createRequire(createRequire(import.meta.url).resolve('dynalite/db/index.js'))

/** `path` undefined keeps everything in memory. A directory that another process has open is ERR_DATA_DIR_HELD. */
export async function openLevel(path: string | undefined): Promise<Level> {
  const level =
    path === undefined
      ? new (fromDynalite('memory-level') as { MemoryLevel: Constructor }).MemoryLevel()
      : new (fromDynalite('level') as { Level: Constructor }).Level(path)
  try {
    await level.open()
  } catch (e) {
    const cause = e instanceof Error ? (e.cause as { code?: unknown } | undefined) : undefined
    if (cause?.code === 'LEVEL_LOCKED')
      throw new AppError('ERR_DATA_DIR_HELD', `Another process holds ${path ?? 'the store'}`, {
        cause: e,
      })
    throw new AppError('ERR_INTERNAL', 'The store cannot be opened', {
      internal: `LevelDB at ${path ?? 'memory'}: ${String(cause ?? e)}`,
      cause: e,
    })
  }
  return level
}

/** Every value of a range. The iterator is closed however the loop ends: an open one keeps its snapshot in memory. */
export async function* valuesOf(level: Level, range: Range): AsyncGenerator<string> {
  yield* drain(level.values(range))
}
export async function* keysOf(level: Level, range: Range): AsyncGenerator<string> {
  yield* drain(level.keys(range))
}
async function* drain(iterator: LevelIterator): AsyncGenerator<string> {
  try {
    for (;;) {
      const some = await iterator.nextv(64)
      if (some.length === 0) return
      yield* some
    }
  } finally {
    await iterator.close()
  }
}

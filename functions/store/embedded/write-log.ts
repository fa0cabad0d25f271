/**
 * Group commit. Writes are evaluated one after the other, at once and in memory; what they change is gathered and goes to
 * disk as one synced LevelDB batch. While that batch is being synced the next one gathers. A write is answered when the batch
 * that holds it is on disk; conditions of later writes see the earlier ones, readers see only what is on disk.
 */
import type { Level } from './level.ts'

/** undefined = removed. */
export type Changes = ReadonlyMap<string, string | undefined>

export interface WriteLog {
  /** The newest value, on disk or on its way. */
  get(key: string): string | undefined
  /** Whether a change of this row is on its way to the disk. */
  pending(key: string): boolean
  /** Takes changes over as a unit. Await `settled()` before telling anybody. */
  add(changes: Changes): void
  /** Resolves when everything added so far is on disk; rejects when it could not be written. */
  settled(): Promise<void>
}

interface Batch {
  readonly changes: Map<string, string | undefined>
  readonly done: Promise<void>
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

function newBatch(): Batch {
  let resolve = () => {}
  let reject: Batch['reject'] = () => {}
  const done = new Promise<void>((yes, no) => {
    resolve = yes
    reject = no
  })
  // Whoever added to the batch awaits it; this keeps a failure from being reported as unhandled before they do.
  done.catch(() => {})
  return { changes: new Map(), done, resolve, reject }
}

export function createWriteLog(level: Level): WriteLog {
  let gathering = newBatch()
  let writing: Batch | undefined
  let started = false

  async function flush(): Promise<void> {
    while (gathering.changes.size > 0) {
      const batch = gathering
      writing = batch
      gathering = newBatch()
      try {
        const writes = [...batch.changes].map(([key, value]) =>
          value === undefined
            ? ({ type: 'del', key } as const)
            : ({ type: 'put', key, value } as const),
        )
        await level.batch(writes, { sync: true })
        batch.resolve()
      } catch (e) {
        batch.reject(e)
        // What gathered meanwhile was evaluated on top of changes that do not exist.
        gathering.reject(e)
        gathering = newBatch()
      } finally {
        writing = undefined
      }
    }
    started = false
  }

  return {
    get(key) {
      if (gathering.changes.has(key)) return gathering.changes.get(key)
      if (writing?.changes.has(key)) return writing.changes.get(key)
      return level.getSync(key)
    },
    pending: (key) => gathering.changes.has(key) || (writing?.changes.has(key) ?? false),
    add(changes) {
      for (const [key, value] of changes) gathering.changes.set(key, value)
      if (started || changes.size === 0) return
      started = true
      void Promise.resolve().then(flush)
    },
    settled: () =>
      gathering.changes.size > 0 ? gathering.done : (writing?.done ?? Promise.resolve()),
  }
}

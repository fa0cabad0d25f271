/**
 * Workers for connections: one each, and while the service is in use a few idle ones, loaded and warm for the next. An agent
 * that nobody uses has none, because each takes some 20 MB.
 */
import { Worker } from 'node:worker_threads'
import type { Clock } from '../../../core/clock.ts'
import { LIMITS } from '../../../core/limits.ts'
import { endWorker } from './end-worker.ts'
import { workerCode, type Entry } from './entry.ts'

export interface WorkerPool {
  take(): Worker
  close(): Promise<void>
}

/** Replaced a little later, so that loading the next one does not compete with the login that took the last. */
const REFILL_MS = 500
/**
 * V8 counts three times a half of the young generation: halves of 1 MiB in place of 16. What one connection makes lives for a packet, so
 * that collecting it more often costs no more, and each thread takes some 3 MiB less when it waits and more under load.
 */
const YOUNG_MIB = 3

export function createWorkerPool(entry: Entry, spares: number, clock: Clock): WorkerPool {
  const idle: Worker[] = []
  let closed = false

  function start(): Worker {
    const { code, isText } = workerCode(entry)
    const worker = new Worker(code, {
      eval: isText,
      execArgv: [],
      // Nothing of the agent's environment: the worker needs none, and it must not leak through it.
      env: {},
      // Descriptors come from other processes, which Node's book of them knows nothing of.
      trackUnmanagedFds: false,
      resourceLimits: {
        maxOldGenerationSizeMb: LIMITS.sshWorkerMemory.value / 2 ** 20,
        maxYoungGenerationSizeMb: YOUNG_MIB,
      },
    })
    worker.unref()
    return worker
  }
  function refill(): void {
    while (!closed && idle.length < spares) {
      const worker = start()
      idle.push(worker)
      const forget = (): void => {
        const at = idle.indexOf(worker)
        if (at >= 0) idle.splice(at, 1)
      }
      worker.once('exit', forget)
      worker.on('error', forget)
    }
  }
  let rest = { cancel: (): void => undefined }
  return {
    take() {
      const worker = idle.shift() ?? start()
      clock.after(REFILL_MS, refill)
      rest.cancel()
      rest = clock.after(LIMITS.sshSpareIdle.value, () => {
        for (const spare of idle.splice(0)) void endWorker(spare, clock)
      })
      return worker
    },
    async close() {
      closed = true
      rest.cancel()
      await Promise.all(idle.splice(0).map((worker) => endWorker(worker, clock)))
    },
  }
}

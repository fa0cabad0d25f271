/**
 * Ends a worker by asking it to. `terminate()` strikes a thread wherever it is, and in the middle of a call into native code (while
 * it loads, or encrypts a packet) the call cannot throw, and Node ends the whole process for that: every session of the agent.
 * A worker that is asked leaves between two messages. Only one that does not answer is struck.
 */
import type { Worker } from 'node:worker_threads'
import type { Clock } from '../../../core/clock.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { ToWorker } from './messages.ts'

/** Resolves when it is gone. It must not be gone already. */
export function endWorker(worker: Worker, clock: Clock): Promise<void> {
  const leave: ToWorker = { kind: 'leave' }
  worker.postMessage(leave)
  return new Promise((resolve) => {
    const hung = clock.after(LIMITS.sshWorkerSilence.value, () => void worker.terminate())
    worker.once('exit', () => {
      hung.cancel()
      resolve()
    })
  })
}

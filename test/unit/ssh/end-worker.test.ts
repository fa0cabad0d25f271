/**
 * A worker is asked to leave. Striking it while it loads or calls native code has ended the whole process ("FATAL ERROR:
 * Error::ThrowAsJavaScriptException napi_throw"): every session of an agent.
 */
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { endWorker } from '../../../agent/services/ssh/end-worker.ts'
import { entryOf, workerCode } from '../../../agent/services/ssh/entry.ts'
import { systemClock } from '../../../core/clock.ts'
import { LIMITS } from '../../../core/limits.ts'
import { handClock } from '../../support/clock.ts'

/** Of `process.exit()` in the thread, and of `terminate()`. */
const [LEFT, STRUCK] = [0, 1]
const exitCode = (worker: Worker): Promise<number> =>
  new Promise((resolve) => worker.once('exit', resolve))

test('one that still loads leaves when it has loaded', async () => {
  const { code, isText } = workerCode(entryOf('ssh-worker'))
  const worker = new Worker(code, { eval: isText, execArgv: [], env: {} })
  const ended = exitCode(worker)
  await endWorker(worker, systemClock)
  expect(await ended).toBe(LEFT)
})

test('one that hangs is struck after its time', async () => {
  const clock = handClock()
  const worker = new Worker("require('worker_threads').parentPort.postMessage(0); for (;;);", {
    eval: true,
  })
  await new Promise((resolve) => worker.once('message', resolve))
  const code = exitCode(worker)
  const ended = endWorker(worker, clock)
  clock.advance(LIMITS.sshWorkerSilence.value)
  await ended
  expect(await code).toBe(STRUCK)
})

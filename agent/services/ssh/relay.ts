/**
 * The main thread's half of one SSH connection: moves bytes between the tunnel's stream and the worker, passes questions to
 * the gate, and ends both when one has ended. A worker that breaks or hangs takes only its own connection with it.
 */
import { closeSync } from 'node:fs'
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads'
import { reasonOf } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { ServiceContext, ServiceStream } from '../service.ts'
import { endWorker } from './end-worker.ts'
import { createGate } from './gate.ts'
import { socketPair, waitFor } from './helper/libc.ts'
import type { Start, ToMain, ToWorker } from './messages.ts'
import { PortLink } from './port-link.ts'

/** Between the polite end of a session and the hard one. */
const CUT_GRACE_MS = 1000
const PING_MS = 5000

export function relay(
  ctx: ServiceContext,
  stream: ServiceStream,
  worker: Worker,
  start: Omit<Start, 'bytes' | 'helperSockets'>,
  signal: AbortSignal,
): Promise<void> {
  const { clock } = ctx
  const { port1, port2 } = new MessageChannel()
  const link = new PortLink(port1)
  // Made and closed here: a worker that is ended in the middle closes nothing.
  const helperSockets = socketPair('messages')
  const { duplex } = stream
  let bytesIn = 0
  let bytesOut = 0
  let exitCode: number | undefined
  let helperPid: number | undefined
  let heard = clock.monotonic()
  const tell = (message: ToWorker, transfer: readonly MessagePort[] = []): void =>
    worker.postMessage(message, transfer as never)

  let leaving = false
  function leave(): void {
    if (!leaving) void endWorker(worker, clock)
    leaving = true
  }
  const cut = (line: string): void => {
    tell({ kind: 'cut', line })
    clock.after(CUT_GRACE_MS, leave)
  }
  const gate = createGate(ctx, stream, {
    onCut: cut,
    onGrant: (grant) => tell({ kind: 'grant', grant }),
  })

  function onMessage(message: ToMain): void {
    heard = clock.monotonic()
    switch (message.kind) {
      case 'ready':
      case 'pong':
        return
      case 'ask':
        return tell({ kind: 'answer', id: message.id, answer: gate.answer(message.ask) })
      case 'report':
        return gate.report(message)
      case 'log':
        return ctx.log.info(message.event, { session: stream.sessionId, ...message.fields })
      case 'helper':
        helperPid = message.pid
        return
      case 'end':
        exitCode = message.exitCode
        return leave()
    }
  }

  return new Promise((resolve) => {
    const watchdog = clock.every(PING_MS, () => {
      if (clock.monotonic() - heard < LIMITS.sshWorkerSilence.value) return tell({ kind: 'ping' })
      ctx.log.error('ssh.worker_silent', { session: stream.sessionId })
      void worker.terminate()
    })
    const abort = (): void => cut('the agent is stopping')
    signal.addEventListener('abort', abort, { once: true })
    worker.on('message', onMessage)
    worker.on('error', (e) =>
      ctx.log.error('ssh.worker_failed', { session: stream.sessionId, reason: reasonOf(e) }),
    )
    worker.once('exit', () => {
      leaving = true
      watchdog.cancel()
      signal.removeEventListener('abort', abort)
      gate.end({ exitCode, bytesIn, bytesOut })
      link.close()
      for (const fd of helperSockets) closeSync(fd)
      if (helperPid !== undefined) reap(ctx, helperPid)
      // What the worker wrote last is still on its way to the tunnel.
      duplex.end()
      const late = clock.after(CUT_GRACE_MS, () => duplex.destroy())
      duplex.once('close', () => late.cancel())
      resolve()
    })
    duplex.on('data', (chunk: Buffer) => {
      bytesIn += chunk.length
      if (!link.write(chunk)) duplex.pause()
    })
    link.ondrain = () => duplex.resume()
    duplex.on('end', () => link.end())
    duplex.on('error', () => link.reset('the stream broke'))
    duplex.on('close', () => link.reset('the stream is closed'))
    link.ondata = (chunk, taken) => {
      // Its worker is gone and the stream was ended: a write would break off what is still on its way.
      if (duplex.writableEnded) return
      bytesOut += chunk.length
      // A writable is done with a chunk when it calls back, and not before.
      duplex.write(chunk, () => taken(true))
    }
    link.onend = () => duplex.end()
    if (signal.aborted) abort()
    tell({ kind: 'start', start: { ...start, bytes: port2, helperSockets } }, [port2])
  })
}

/** A helper whose worker has gone ends by itself, but nobody waits for it any more: without this it stays a zombie. */
function reap(ctx: ServiceContext, pid: number, tries = 20): void {
  if (waitFor(pid) !== undefined || tries === 0) return
  ctx.clock.after(250, () => reap(ctx, pid, tries - 1))
}

/** Sends spooled audit events until the control plane has them. An event it will never take must not block those behind it. */
import { sleep, type Clock } from '../../core/clock.ts'
import type { AgentEvent } from '../../core/domain/event.ts'
import { isAppError, toAppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import { retrying } from '../retry.ts'
import type { Spool } from './spool.ts'

export type SendEvents = (events: readonly AgentEvent[], signal: AbortSignal) => Promise<void>

export interface UploadOptions {
  readonly spool: Spool
  readonly send: SendEvents
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly signal: AbortSignal
  /** Milliseconds to gather events into one upload. */
  readonly gather?: number
}

const chunks = <T>(list: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, i) =>
    list.slice(i * size, (i + 1) * size),
  )

const poison = (e: unknown): boolean =>
  isAppError(e) && (e.code === 'ERR_INPUT_INVALID' || e.code === 'ERR_INPUT_TOO_LARGE')

/** Sends what there is once. Rejects only when the signal aborts. */
export async function drain(options: UploadOptions): Promise<void> {
  const { spool, send, log, signal } = options
  const persistently = (events: readonly AgentEvent[]): Promise<void> =>
    retrying((s) => send(events, s), {
      ...options,
      // Whatever else is wrong (a lock, a renewal under way) may pass; the events stay on disk meanwhile.
      isFatal: poison,
      onRetry: (error) => log.warn('audit.not_sent', { code: error.code }),
    })
  for (let file = spool.oldest(); file; file = spool.oldest()) {
    for (const batch of chunks(file.events, LIMITS.auditBatch.value))
      try {
        await persistently(batch)
      } catch (e) {
        if (signal.aborted || !poison(e)) throw e
        for (const event of batch)
          await persistently([event]).catch((cause: unknown) => {
            if (signal.aborted) throw cause
            const { code, message } = toAppError(cause)
            log.error('audit.event_refused', { type: event.type, code, message })
          })
      }
    file.done()
  }
}

/** Runs until the signal aborts. */
export async function uploadEvents(options: UploadOptions): Promise<void> {
  const { spool, clock, signal, gather = 200 } = options
  while (!signal.aborted)
    try {
      await spool.waitForEvents(signal)
      await sleep(clock, gather, signal)
      await drain(options)
    } catch (e) {
      if (signal.aborted) return
      throw e
    }
}

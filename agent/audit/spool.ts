/**
 * Audit events on their way to the control plane. An event is in the file before `append` returns, so a `kill -9` loses none; it
 * is forced to the disk within LIMITS.auditSync for the sake of power cuts. A file goes away only when the control plane has all
 * of it; each event has a key, so sending one twice is harmless.
 *
 *   audit/<sequence>.jsonl   numbered in order; the highest is being written
 */
import * as fs from 'node:fs'
import { join } from 'node:path'
import type { Clock, Timer } from '../../core/clock.ts'
import type { AgentEvent } from '../../core/domain/event.ts'
import { reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Log } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'
import { ensurePrivateDir } from '../identity/files.ts'
import { fitEvent, readLines, type UnsentEvent } from './event-line.ts'

export interface SpoolLimits {
  /** Bytes of all files together. */
  readonly total: number
  /** Bytes of one file, about. */
  readonly segment: number
}

export interface Spool {
  /** Never throws. What a full disk refuses is kept in memory, up to a thousand events, and written with the next. */
  append(event: UnsentEvent): void
  /** Events of the oldest file and how to drop it once they arrived; undefined when there are none. */
  oldest(): { readonly events: readonly AgentEvent[]; done(): void } | undefined
  /** Resolves when there is something to send; at once if there is. Rejects with the signal's reason. */
  waitForEvents(signal: AbortSignal): Promise<void>
  readonly bytes: number
  close(): void
}

export interface SpoolOptions {
  /** The service's directory. */
  readonly dataDir: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly limits?: Partial<SpoolLimits>
}

interface Segment {
  readonly sequence: number
  size: number
}

const MEMORY_MAX = 1000

/** An event that counts others which were dropped before stands for all of them. */
const weight = (event: AgentEvent): number =>
  event.type === 'audit.dropped' ? Number(event.fields['count']) : 1

export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { clock, random, log } = options
  const limits: SpoolLimits = {
    total: LIMITS.auditSpool.value,
    segment: 1024 * 1024,
    ...options.limits,
  }
  const dir = join(options.dataDir, 'audit')
  await ensurePrivateDir(dir)
  const pathOf = (sequence: number): string =>
    join(dir, `${String(sequence).padStart(12, '0')}.jsonl`)
  const segments: Segment[] = fs
    .readdirSync(dir)
    .filter((name) => /^\d{12}\.jsonl$/.test(name))
    .sort()
    .map((name) => ({
      sequence: Number(name.slice(0, 12)),
      size: fs.statSync(join(dir, name)).size,
    }))
  let current: { readonly fd: number; readonly segment: Segment; torn: boolean } | undefined
  let syncTimer: Timer | undefined
  let waiting: (() => void)[] = []
  const inMemory: string[] = []
  let closed = false

  const total = (): number => segments.reduce((sum, s) => sum + s.size, 0)

  function endCurrent(): void {
    if (!current) return
    fs.fdatasyncSync(current.fd)
    fs.closeSync(current.fd)
    current = undefined
  }

  function open(): NonNullable<typeof current> {
    const segment = { sequence: (segments.at(-1)?.sequence ?? 0) + 1, size: 0 }
    const fd = fs.openSync(pathOf(segment.sequence), 'ax', 0o600)
    segments.push(segment)
    return { fd, segment, torn: false }
  }

  function writeLine(line: string): void {
    current ??= open()
    // After a write that the disk cut short, a fresh line keeps the torn one from spoiling this one.
    const bytes = Buffer.from(`${current.torn ? '\n' : ''}${line}\n`, 'utf8')
    current.torn = true
    let at = 0
    while (at < bytes.length) at += fs.writeSync(current.fd, bytes, at)
    current.torn = false
    current.segment.size += bytes.length
    if (current.segment.size >= limits.segment) endCurrent()
  }

  function syncSoon(): void {
    syncTimer ??= clock.after(LIMITS.auditSync.value, () => {
      syncTimer = undefined
      if (!current) return
      fs.fdatasync(current.fd, (e) => {
        // EBADF: the file was finished, and synced, in the meantime.
        if (e && e.code !== 'EBADF') log.error('audit.not_synced', { reason: e.message })
      })
    })
  }

  /** Makes room: the oldest files lose what is no refusal; when that is not enough, the oldest go whole. */
  function shrink(): number {
    let dropped = 0
    const target = limits.total * 0.9
    for (const whole of [false, true])
      for (const segment of [...segments]) {
        if (total() <= target) return dropped
        if (segment === current?.segment) continue
        const path = pathOf(segment.sequence)
        const events = readLines(fs.readFileSync(path, 'utf8'))
        const kept = whole ? [] : events.filter((e) => e.outcome === 'refused')
        for (const event of events) if (!kept.includes(event)) dropped += weight(event)
        if (kept.length === 0) {
          fs.rmSync(path, { force: true })
          segments.splice(segments.indexOf(segment), 1)
        } else if (kept.length < events.length) {
          const text = kept.map((e) => `${JSON.stringify(e)}\n`).join('')
          fs.writeFileSync(`${path}.tmp`, text, { mode: 0o600 })
          fs.renameSync(`${path}.tmp`, path)
          segment.size = Buffer.byteLength(text)
        }
      }
    return dropped
  }

  const lineOf = (event: UnsentEvent): string =>
    JSON.stringify(fitEvent(event, random.bytes(16).toString('base64url'), clock.now()))

  function append(event: UnsentEvent): void {
    if (inMemory.length < MEMORY_MAX) inMemory.push(lineOf(event))
    else log.error('audit.event_lost', { type: event.type, session: event.session })
    try {
      while (inMemory[0] !== undefined) {
        writeLine(inMemory[0])
        inMemory.shift()
      }
      if (total() > limits.total) {
        endCurrent()
        const count = shrink()
        if (count > 0) {
          log.warn('audit.dropped', { count })
          const facts = { actor: 'agent', resource: undefined, session: undefined }
          const reason = 'the spool was full'
          writeLine(
            lineOf({
              type: 'audit.dropped',
              outcome: 'failed',
              ...facts,
              reason,
              fields: { count },
            }),
          )
        }
      }
      syncSoon()
    } catch (e) {
      log.error('audit.not_written', { reason: reasonOf(e), waiting: inMemory.length })
    }
    for (const wake of waiting.splice(0)) wake()
  }

  const pending = (): boolean => segments.some((s) => s.size > 0)

  return {
    append,

    oldest() {
      for (const segment of [...segments]) {
        if (segment === current?.segment) endCurrent()
        const path = pathOf(segment.sequence)
        const done = (): void => {
          fs.rmSync(path, { force: true })
          const at = segments.indexOf(segment)
          if (at >= 0) segments.splice(at, 1)
        }
        const events = readLines(fs.readFileSync(path, 'utf8'))
        if (events.length > 0) return { events, done }
        done()
      }
      return undefined
    },

    waitForEvents(signal) {
      if (pending()) return Promise.resolve()
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error)
        const onAbort = (): void => {
          waiting = waiting.filter((fn) => fn !== wake)
          reject(signal.reason as Error)
        }
        const wake = (): void => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        }
        waiting.push(wake)
        signal.addEventListener('abort', onAbort, { once: true })
      })
    },

    get bytes() {
      return total()
    },

    close() {
      if (closed) return
      closed = true
      syncTimer?.cancel()
      endCurrent()
    },
  }
}

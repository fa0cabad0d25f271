/**
 * Tells the table which agents are here. Each agent service has one wanted row (its newest tunnel's) or none; the table is
 * brought to that, one write at a time for each, tried until it succeeds. What is wanted may change meanwhile: only the last
 * wish counts, so a flapping agent cannot queue writes, and nothing here is ever waited for by a tunnel or a stream.
 */
import { sleep, type Clock } from '../core/clock.ts'
import type { PresenceStore, TunnelRow } from '../core/domain/presence.ts'
import { reasonOf } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import type { ProxyCounters } from './counters.ts'

/** Writes under way at once: ten thousand agents that come back together must not bury the table. */
const CONCURRENT = 32

export interface PresenceRows {
  /** The row that this key should have. */
  want(key: string, row: TunnelRow | undefined): void
  /** Resolves when the table says what was wanted, or when the signal aborts. */
  settled(signal: AbortSignal): Promise<void>
  /** Gives up what is not written yet. */
  stop(): void
}

export interface PresenceRowsDeps {
  readonly presence: Pick<PresenceStore, 'putTunnel' | 'endTunnel'>
  readonly clock: Clock
  readonly random: Random
  readonly counters: ProxyCounters
  readonly log: Log
}

interface Entry {
  wanted: TunnelRow | undefined
  /** Known to be in the table. */
  written: TunnelRow | undefined
  /** Rows that may be in the table: a write whose answer was lost counts as one. */
  readonly perhaps: Set<TunnelRow>
  busy: boolean
}

/** The next write towards what is wanted: a put before the removal of what it replaces, so that the agent is never unseen. */
type Step = { readonly put: TunnelRow } | { readonly end: TunnelRow } | undefined
function nextStep({ wanted, written, perhaps }: Entry): Step {
  if (wanted && written !== wanted) return { put: wanted }
  const stale = [...perhaps].find((row) => row !== wanted)
  return stale && { end: stale }
}

export function createPresenceRows(deps: PresenceRowsDeps): PresenceRows {
  const { presence, clock, random, counters, log } = deps
  const entries = new Map<string, Entry>()
  const stopping = new AbortController()
  const waiting: (() => void)[] = []
  const idle: (() => void)[] = []
  let writing = 0
  let busy = 0

  async function inTurn(work: () => Promise<void>): Promise<void> {
    if (writing >= CONCURRENT) await new Promise<void>((go) => waiting.push(go))
    else writing += 1
    try {
      await work()
    } finally {
      // The place passes straight to the next in line.
      const next = waiting.shift()
      if (next) next()
      else writing -= 1
    }
  }

  async function take(step: NonNullable<Step>, entry: Entry): Promise<void> {
    if ('put' in step) {
      entry.perhaps.add(step.put)
      await presence.putTunnel(step.put)
      entry.written = step.put
    } else {
      await presence.endTunnel(step.end, clock.now())
      entry.perhaps.delete(step.end)
      if (entry.written === step.end) entry.written = undefined
    }
    counters.presenceWrites += 1
  }

  async function settle(key: string, entry: Entry): Promise<void> {
    let pause: number = LIMITS.backoffMin.value
    for (let step = nextStep(entry); step && !stopping.signal.aborted; step = nextStep(entry)) {
      const now = step
      try {
        await inTurn(() => take(now, entry))
        pause = LIMITS.backoffMin.value
      } catch (e) {
        counters.presenceFailures += 1
        log.warn('proxy.presence_write_failed', { key, reason: reasonOf(e) })
        await sleep(clock, random.float() * pause, stopping.signal).catch(() => undefined)
        pause = Math.min(pause * 2, LIMITS.backoffMax.value)
      }
    }
  }

  async function work(key: string, entry: Entry): Promise<void> {
    entry.busy = true
    busy += 1
    await settle(key, entry)
    entry.busy = false
    busy -= 1
    if (!entry.wanted && entry.perhaps.size === 0) entries.delete(key)
    if (busy === 0) for (const done of idle.splice(0)) done()
  }

  return {
    want(key, row) {
      const entry = entries.get(key) ?? {
        wanted: undefined,
        written: undefined,
        perhaps: new Set<TunnelRow>(),
        busy: false,
      }
      // One connection is one row: wanted once more, it is neither written nor ended again.
      entry.wanted = [...entry.perhaps].find((known) => known.connId === row?.connId) ?? row
      entries.set(key, entry)
      if (!entry.busy) void work(key, entry)
    },
    async settled(signal) {
      if (busy === 0 || signal.aborted) return
      await new Promise<void>((resolve) => {
        idle.push(resolve)
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    },
    stop: () => stopping.abort(),
  }
}

/**
 * A new connection outlives what passes: a proxy that leaves, an agent that changes proxies, a table that is read a moment too
 * early. It is tried again over any proxy for LIMITS.openPatience. What is refused is refused at once.
 */
import { sleep, type Clock } from '../../core/clock.ts'
import { toAppError, type AppError, type ErrorCode } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import { isUnknownName } from '../../net/dial.ts'
import { isUntrusted } from '../../net/trust.ts'

export interface PersistDeps {
  readonly clock: Clock
  readonly random: Random
  /** Ends it, with its reason. */
  readonly signal: AbortSignal
}

/** One try failed for a reason that may have passed at the next. */
export interface Again {
  readonly again: AppError
}

/** Longest pause before the second try and before any, ms; none before the first repetition. */
const PAUSE = 250
const PAUSE_MAX = 2_000

const PASSES: ReadonlySet<ErrorCode> = new Set([
  'ERR_TUNNEL_CLOSED',
  'ERR_PROXY_BUSY',
  'ERR_UNREACHABLE',
  'ERR_GATEWAY',
  'ERR_TIMEOUT',
])

/** What somebody must change first, however often it is tried: an unknown certificate or name, a forward proxy that refuses. */
export const mayPass = (error: AppError): boolean =>
  error.code !== 'ERR_FORWARD_PROXY' && !isUntrusted(error) && !isUnknownName(error)

/** A control plane that says when to come back has seen the agent a moment ago; one that does not has not. */
const passes = (error: AppError): boolean =>
  error.code === 'ERR_RESOURCE_OFFLINE'
    ? error.details?.retryAfter !== undefined
    : PASSES.has(error.code) && mayPass(error)

/** Rejects with the last failure when there is no more time, with any that does not pass at once. */
export async function persist<T extends object>(
  once: (tries: number) => Promise<T | Again>,
  { clock, random, signal }: PersistDeps,
): Promise<T> {
  const began = clock.monotonic()
  for (let tries = 0; ; tries++) {
    const result = await once(tries).catch((e: unknown): Again => {
      const error = toAppError(e)
      if (signal.aborted || !passes(error)) throw e
      return { again: error }
    })
    if (!('again' in result)) return result
    const pause = tries === 0 ? 0 : random.float() * Math.min(PAUSE * 2 ** tries, PAUSE_MAX)
    // Once more in any case: one OPEN that is lost on a path that broke takes longer than all of the patience.
    if (tries > 0 && clock.monotonic() + pause - began > LIMITS.openPatience.value)
      throw result.again
    if (pause > 0) await sleep(clock, pause, signal)
    signal.throwIfAborted()
  }
}

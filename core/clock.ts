/**
 * The one place where time comes from. Code takes a `Clock`; tests pass a hand-driven one.
 *
 * Units: an `Instant` is milliseconds since the Unix epoch. Items in the table, certificates and JWTs carry
 * epoch *seconds*; `seconds()` and `fromSeconds()` are the only conversions.
 */
export type Instant = number & { readonly __unit: 'ms since epoch' }

/** A pending timer. `cancel` is idempotent and may be called after it fired. */
export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall-clock time. May jump; never use it to measure a duration. */
  now(): Instant
  /** Milliseconds from an arbitrary start that never goes back. For durations and round-trip times. */
  monotonic(): number
  /** Runs `fn` once after `ms`. A timer does not keep the process alive. */
  after(ms: number, fn: () => void): Timer
  /** Runs `fn` every `ms` until cancelled. A timer does not keep the process alive. */
  every(ms: number, fn: () => void): Timer
}

export const instant = (ms: number): Instant => ms as Instant
/** Epoch seconds, rounded down: what certificates, JWTs and table items hold. */
export const seconds = (at: Instant): number => Math.floor(at / 1000)
export const fromSeconds = (s: number): Instant => instant(s * 1000)
export const plus = (at: Instant, ms: number): Instant => instant(at + ms)
/** RFC 3339 in UTC, as the API shows times. */
export const iso = (at: Instant): string => new Date(at).toISOString()

export const systemClock: Clock = {
  now: () => instant(Date.now()),
  monotonic: () => performance.now(),
  after(ms, fn) {
    const t = setTimeout(fn, ms)
    t.unref()
    return { cancel: () => clearTimeout(t) }
  },
  every(ms, fn) {
    const t = setInterval(fn, ms)
    t.unref()
    return { cancel: () => clearInterval(t) }
  },
}

/** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error)
    const onAbort = () => {
      timer.cancel()
      reject(signal?.reason as Error)
    }
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/**
 * When a service asks the control plane where proxies are. Ten thousand agents lose a proxy in the same moment, and most proxies come
 * back where they were: so nobody asks at once, nobody asks whose proxy answers again, and those that do are spread in time. A proxy that
 * is added is told to all of them in one moment, too.
 */
import type { Clock, Timer } from '../core/clock.ts'
import type { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'

export interface LookUp<Leg> {
  /** A leg has no proxy to count on: it was lost, never reached, or told it to leave (`leaving`). */
  lost(leg: Leg, why: { readonly error: AppError | undefined; readonly leaving: boolean }): void
  /** A leg is connected. `enough`: so is every other that there can be. */
  connected(leg: Leg, enough: boolean): void
  /**
   * There are more proxies than the list has: a proxy said that there are `proxies`, or dials keep leading to the same. Nothing is
   * lost, so there is time, the more of it the more proxies, and agents, there are.
   */
  doubted(proxies: number): void
}

export function createLookUp<Leg>(deps: {
  readonly clock: Pick<Clock, 'after'>
  readonly random: Random
  readonly signal: AbortSignal
  /** Asks. Never rejects. */
  ask(): void
}): LookUp<Leg> {
  const { clock, random, signal } = deps
  /** Legs whose proxy told them to leave, until they found another. */
  const told = new Set<Leg>()
  let later: Timer | undefined
  let doubt: Timer | undefined

  function needless(): void {
    later?.cancel()
    later = undefined
  }
  signal.addEventListener(
    'abort',
    () => {
      needless()
      doubt?.cancel()
    },
    { once: true },
  )

  return {
    lost(leg, { error, leaving }) {
      if (leaving) return void told.add(leg)
      // Whoever is locked out, or told to wait, was led somewhere by the list.
      if (error?.code === 'ERR_LOCKED') return needless()
      // Its proxy leaves and no other that is known takes it: time is short, and that proxy has spread those that it told.
      if (told.delete(leg)) return deps.ask()
      if (error?.code === 'ERR_PROXY_BUSY') return needless()
      const after = LIMITS.lookUpAfter.value + random.float() * LIMITS.lookUpSpread.value
      later ??= clock.after(after, () => {
        later = undefined
        if (!signal.aborted) deps.ask()
      })
    },
    connected(leg, enough) {
      told.delete(leg)
      if (enough) needless()
    },
    doubted(proxies) {
      const window = LIMITS.lookUpMore.value * Math.max(2, proxies)
      doubt ??= clock.after(random.float() * window, () => {
        doubt = undefined
        if (!signal.aborted) deps.ask()
      })
    },
  }
}

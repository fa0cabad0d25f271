/**
 * Real sockets and a real store on a clock that is moved by hand, hours in seconds: time leaps on only while nothing is under way,
 * and never as far as what tells the living from the dead. So no deadline is missed because the clock was faster than the machine.
 */
import { LIMITS } from '../../core/limits.ts'
import type { HandClock } from './clock.ts'
import { watchQuiet, type Quiet } from './quiet.ts'

/** Below the life of a lease, which is renewed by every leap, and below the silence that is taken for death. */
const LEAP = Math.min(LIMITS.leaseTtl.value, LIMITS.deadAfter.value) * 0.95
/** While somebody is waited for who may need a timer. */
const SMALL = 50

export interface Leaping {
  /** Moves time on by `ms`. After every leap everything comes to rest; then `rest` is called with its length. */
  pass(ms: number, rest?: (passed: number) => Promise<void>): Promise<void>
  /** Waits for what may need a little time to pass. */
  during<T>(work: Promise<T>): Promise<T>
  /** Everything that can happen now has happened. */
  settled(): Promise<void>
  stop(): void
}

export function leaping(clock: HandClock): Leaping {
  const quiet: Quiet = watchQuiet()

  async function settled(): Promise<void> {
    do await quiet.settled()
    while (clock.leap(0) > 0)
  }

  return {
    settled,
    async pass(ms, rest) {
      // The last renewal of a lease may be this old: the first leap brings the next.
      let passed: number = Math.min(LIMITS.leaseRenew.value, ms)
      for (let left = ms; left > 0; left -= passed, passed = Math.min(LEAP, left)) {
        clock.leap(passed)
        await settled()
        await rest?.(passed)
      }
    },
    async during(work) {
      let done = false
      const over = work.finally(() => (done = true))
      over.catch(() => undefined)
      for (await settled(); !done; await settled()) clock.leap(SMALL)
      return over
    },
    stop: () => quiet.stop(),
  }
}

/**
 * What a leg does when a dial led it to the proxy where the other leg is: behind one load balancer that is chance and the next dial
 * may lead elsewhere, with a list of addresses it means that the list is old (protocols.md 7.2).
 */
import type { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'
import { backoff } from '../net/backoff.ts'
import type { Leg } from './legs.ts'

/** Pause between two looks for a second proxy, ms, when the last ones led to the same. */
const LATER = 60_000

/** Dials in a row that may lead to the same proxy by chance, before the list is doubted. */
const SAME_BEFORE_ASKING = 2

/** Answers the pause before the leg's next dial, ms; undefined when the last one failed otherwise. */
export function createSamePause(deps: {
  readonly random: Random
  /** The list may be older than the proxy that was told of: the control plane looks at the leases in its own time. */
  doubted(): void
}): (leg: Pick<Leg, 'failed'>, error: AppError | undefined) => number | undefined {
  const { random } = deps
  return (leg, error) => {
    const same = leg.failed(error?.code === 'ERR_TUNNEL_ALREADY_HERE')
    if (same === 0) return undefined
    // Proxies are there, whatever failed before: only these tries count.
    if (same > LIMITS.sameProxyTries.value) return LATER * (0.5 + random.float() / 2)
    if (same > SAME_BEFORE_ASKING) deps.doubted()
    return backoff(same - 1, error, random)
  }
}

/**
 * Services that left their agents, whose certificates still run (core/domain/departure.ts). Read from the table when the count of
 * them has moved, which the same read tells that tells the policy's version; kept until the certificates have run out.
 */
import { instant, plus, type Clock, type Instant } from '../core/clock.ts'
import type { PresenceStore } from '../core/domain/presence.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { reasonOf } from '../core/errors.ts'
import type { AgentId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import { within } from './within.ts'

export interface DeparturesDeps {
  readonly presence: Pick<PresenceStore, 'departuresSince'>
  readonly clock: Clock
  readonly log: Log
  /** Some are new. */
  onNew(): void
}

export interface Departures {
  /** `count`: as the table has it now. Never rejects; what could not be read is read at the next call. */
  follow(count: number): Promise<void>
  /** Whether a certificate issued at this time was issued before the service left. */
  voids(
    identity: { readonly agentId: AgentId; readonly service: ServiceKind },
    issued: Instant,
  ): boolean
}

export function createDepartures(deps: DeparturesDeps): Departures {
  const { presence, clock, log } = deps
  const known = new Map<string, { readonly until: Instant; readonly expires: Instant }>()
  let seen: number | undefined
  let since = instant(0)

  async function read(count: number): Promise<void> {
    const now = clock.now()
    const found = await within(clock, LIMITS.leaseRenew.value, presence.departuresSince(since, now))
    for (const { agentId, service, until, expires } of found) {
      const key = `${agentId}/${service}`
      if (until > (known.get(key)?.until ?? -1)) known.set(key, { until, expires })
    }
    for (const [key, { expires }] of known) if (expires <= now) known.delete(key)
    seen = count
    // They lie in the order of their writers' clocks, which differ: what is written next may lie a little before what was read.
    since = plus(now, -LIMITS.departureOverlap.value)
    if (found.length > 0) deps.onNew()
  }

  return {
    async follow(count) {
      // Not `>`: a table that was restored counts from an earlier number.
      if (count === seen) return
      await read(count).catch((e: unknown) => {
        log.warn('proxy.departures_unread', { reason: reasonOf(e) })
      })
    },
    voids({ agentId, service }, issued) {
      const left = known.get(`${agentId}/${service}`)
      return left !== undefined && issued <= left.until
    },
  }
}

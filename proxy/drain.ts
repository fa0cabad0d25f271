/** Leaving in good order: peers are told to come back (elsewhere) in a while and get the time to, but not for ever. */
import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { Tunnel, TunnelRegistry } from './tunnels.ts'

/** How often emptiness is looked at while draining, ms. Streams end without telling the proxy. */
const LOOK = 100

/** Tells them to come back within `spread` ms, each at a time of its own so that they do not return as one. */
export function tellToLeave(tunnels: Iterable<Tunnel>, spread: number, random: Random): void {
  for (const { session } of [...tunnels]) session.goAway(Math.round(random.float() * spread))
}

/**
 * Resolves when every tunnel is gone or, with nobody to go to (`alone`), when no user's stream is left; after `ms` at the
 * latest.
 */
export function emptied(
  registry: TunnelRegistry,
  clock: Clock,
  ms: number,
  alone: () => boolean,
): Promise<void> {
  const empty = (): boolean => {
    // Other proxies keep their connections; only what runs over them is waited for.
    const tunnels = [...registry.all()].filter((t) => t.kind !== 'peer' || t.session.streams > 0)
    if (tunnels.length === 0) return true
    return alone() && tunnels.every((t) => t.session.streams === 0)
  }
  return new Promise((resolve) => {
    if (empty()) return resolve()
    const done = (): void => {
      look.cancel()
      limit.cancel()
      resolve()
    }
    const look = clock.every(LOOK, () => {
      if (empty()) done()
    })
    const limit = clock.after(ms, done)
  })
}

/**
 * Notices that this machine's addresses changed: another Wi-Fi, a VPN, a new lease. Connections made from the old address are
 * dead then, and nobody says so.
 */
import { networkInterfaces } from 'node:os'
import type { Clock } from '../core/clock.ts'

/** How often it is looked at, ms. One call to the system, some ten microseconds. */
const LOOK = 2000

const addressesNow = (): string =>
  Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal }) => !internal)
    .map(({ address }) => address)
    .sort()
    .join()

/** Calls `fn` at every change of what `addresses` gives, by default this machine's. The answer ends that. */
export function onNetworkChange(
  clock: Clock,
  fn: () => void,
  addresses: () => string = addressesNow,
): () => void {
  let known = addresses()
  const timer = clock.every(LOOK, () => {
    const now = addresses()
    if (now === known) return
    known = now
    fn()
  })
  return () => timer.cancel()
}

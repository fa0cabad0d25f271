/**
 * This proxy's lease (protocols.md 7.1): the row that makes its tunnel rows count. Renewed every LIMITS.leaseRenew; when it
 * could not be renewed for LIMITS.leaseTtl others count this proxy as dead, so it must know that too, even if every write hangs.
 */
import { plus, sleep, type Clock, type Timer } from '../core/clock.ts'
import type { PresenceStore, ProxyLease } from '../core/domain/presence.ts'
import { reasonOf } from '../core/errors.ts'
import type { ProxyId } from '../core/ids.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { ProxyCounters } from './counters.ts'
import { within } from './within.ts'

export interface LeaseDeps {
  readonly presence: Pick<PresenceStore, 'renewLease' | 'endLease' | 'liveProxies'>
  readonly proxyId: ProxyId
  readonly bootId: string
  address(): string
  peerAddress(): string
  tunnels(): number
  readonly clock: Clock
  readonly counters: ProxyCounters
  readonly log: Log
  /** Called on each change: false when the lease ran out, true when it is held (again). */
  onHeld(held: boolean): void
  /** There are more proxies than at the last look. */
  onMore(): void
}

export interface Lease {
  /** Resolves when the lease is held for the first time; tries every second until then. */
  start(signal: AbortSignal): Promise<void>
  /** Reads who lives; never rejects. */
  look(): Promise<void>
  /** Ends renewing and the lease itself. Never rejects. */
  end(): Promise<void>
  /** Proxies of the cluster at the last look, this one included; at least 1. */
  readonly liveProxies: number
  /** Their leases at that look; empty before the first. */
  readonly live: readonly ProxyLease[]
  /** Milliseconds since it was renewed, counted from before that write; Infinity before the first. */
  readonly age: number
}

export function createLease(deps: LeaseDeps): Lease {
  const { presence, clock, counters, log } = deps
  let renewal: Timer | undefined
  let expiry: Timer | undefined
  let held = false
  let renewing = false
  let live: readonly ProxyLease[] = []
  let renewedAt = -Infinity

  function change(to: boolean): void {
    if (held === to) return
    held = to
    deps.onHeld(to)
  }

  async function renewOnce(): Promise<void> {
    const { proxyId, bootId } = deps
    const began = clock.monotonic()
    const expires = plus(clock.now(), LIMITS.leaseTtl.value)
    await presence.renewLease({
      proxyId,
      bootId,
      address: deps.address(),
      peerAddress: deps.peerAddress(),
      tunnels: deps.tunnels(),
      expires,
    })
    renewedAt = began
    expiry?.cancel()
    // Counted from before the write was sent: that is the time it names.
    const left = LIMITS.leaseTtl.value - (clock.monotonic() - began)
    expiry = clock.after(Math.max(0, left), () => change(false))
    change(left > 0)
  }

  /** How many proxies there are; an old answer does while there is no new one. */
  async function lookAround(): Promise<void> {
    const found = await presence.liveProxies(clock.now()).catch(() => undefined)
    if (!found) return
    const before = live.length
    live = found
    if (live.length > before) deps.onMore()
  }

  async function renew(): Promise<void> {
    if (renewing) return
    renewing = true
    try {
      // A renewal that hangs must not keep the next one from being tried.
      await within(clock, LIMITS.leaseRenew.value, renewOnce())
      void lookAround()
    } catch (e) {
      counters.leaseFailures += 1
      log.warn('proxy.lease_not_renewed', { reason: reasonOf(e) })
    } finally {
      renewing = false
    }
  }

  return {
    get liveProxies() {
      return Math.max(1, live.length)
    },
    get live() {
      return live
    },
    look: lookAround,
    get age() {
      return clock.monotonic() - renewedAt
    },
    async start(signal) {
      while (!held) {
        await renew()
        if (!held) await sleep(clock, LIMITS.policyPoll.value, signal)
      }
      signal.throwIfAborted()
      renewal = clock.every(LIMITS.leaseRenew.value, () => void renew())
    },
    async end() {
      renewal?.cancel()
      expiry?.cancel()
      if (!held) return
      await presence.endLease(deps.proxyId, deps.bootId).catch((e: unknown) => {
        log.warn('proxy.lease_not_ended', { reason: reasonOf(e) })
      })
    },
  }
}

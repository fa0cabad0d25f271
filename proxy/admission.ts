/**
 * Who may begin a handshake. Counted before a byte of it is read, so that a flood costs an HTTP answer and nothing more.
 * A slot is held from the upgrade until the handshake is over.
 */
import type { Network } from '../core/certs/ip.ts'
import { LIMITS } from '../core/limits.ts'
import { clientAddress } from '../core/source-address.ts'

export interface AdmissionLimits {
  readonly tunnels: number
  readonly handshakes: number
  readonly handshakesPerSource: number
  /** Load balancers in front whose `X-Forwarded-For` counts. */
  readonly trustedProxies: readonly Network[]
}

const DEFAULTS: AdmissionLimits = {
  tunnels: LIMITS.tunnelsPerProxy.value,
  handshakes: LIMITS.handshakesPending.value,
  handshakesPerSource: LIMITS.handshakesPerSource.value,
  trustedProxies: [],
}

/** The part of each limit that is one process's, where a proxy is several: the whole machine takes no more than one would. */
export function shareOf(
  limits: Partial<AdmissionLimits> | undefined,
  processes: number,
): AdmissionLimits {
  const whole = { ...DEFAULTS, ...limits }
  const part = (limit: number): number => Math.ceil(limit / processes)
  return {
    ...whole,
    tunnels: part(whole.tunnels),
    handshakes: part(whole.handshakes),
    // The kernel spreads connections unevenly, and an office behind one address would be turned away by a busy process while others are
    // idle. One source never takes more than half of the places.
    handshakesPerSource: Math.max(
      part(whole.handshakesPerSource),
      Math.min(Math.ceil(whole.handshakesPerSource / 4), Math.ceil(part(whole.handshakes) / 2)),
    ),
  }
}

export interface Slot {
  /** Frees the slot. Idempotent. */
  release(): void
}

export interface Admission {
  /** A slot, or why there is none. */
  admit(source: string, tunnels: number): Slot | 'tunnels' | 'handshakes' | 'source'
  readonly pending: number
  /** Whose connection it is, by address. */
  sourceOf(peer: string, forwardedFor: string | undefined): string
}

export function createAdmission(overrides: Partial<AdmissionLimits> = {}): Admission {
  const limits = { ...DEFAULTS, ...overrides }
  const bySource = new Map<string, number>()
  let pending = 0

  function release(source: string): void {
    pending -= 1
    const left = (bySource.get(source) ?? 1) - 1
    if (left > 0) bySource.set(source, left)
    else bySource.delete(source)
  }

  return {
    sourceOf: (peer, forwardedFor) => clientAddress(peer, forwardedFor, limits.trustedProxies),
    get pending() {
      return pending
    },
    admit(source, tunnels) {
      if (tunnels + pending >= limits.tunnels) return 'tunnels'
      if (pending >= limits.handshakes) return 'handshakes'
      const mine = bySource.get(source) ?? 0
      if (mine >= limits.handshakesPerSource) return 'source'
      pending += 1
      bySource.set(source, mine + 1)
      let held = true
      return {
        release() {
          if (held) release(source)
          held = false
        },
      }
    },
  }
}

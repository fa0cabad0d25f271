/**
 * Who may begin a handshake. Counted before a byte of it is read, so that a flood costs an HTTP answer and nothing more.
 * A slot is held from the upgrade until the handshake is over.
 */
import { LIMITS } from '../core/limits.ts'

export interface AdmissionLimits {
  readonly tunnels: number
  readonly handshakes: number
  readonly handshakesPerSource: number
}

const DEFAULTS: AdmissionLimits = {
  tunnels: LIMITS.tunnelsPerProxy.value,
  handshakes: LIMITS.handshakesPending.value,
  handshakesPerSource: LIMITS.handshakesPerSource.value,
}

/** The part of each limit that is one process's, where a proxy is several: the whole machine takes no more than one would. */
export function shareOf(
  limits: Partial<AdmissionLimits> | undefined,
  processes: number,
): AdmissionLimits {
  const { tunnels, handshakes, handshakesPerSource } = { ...DEFAULTS, ...limits }
  const part = (whole: number): number => Math.ceil(whole / processes)
  return {
    tunnels: part(tunnels),
    handshakes: part(handshakes),
    handshakesPerSource: part(handshakesPerSource),
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
}

/**
 * One IPv6 customer holds a whole /64, so that prefix is one source. IPv4 in IPv6 clothes is itself.
 */
export function sourceKey(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  const v4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (v4 !== undefined) return v4
  if (!address.includes(':')) return address
  const [head = '', tail] = address.toLowerCase().split('%')[0]?.split('::') ?? []
  const groups = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - after.length)
  return [...groups, ...Array<string>(zeros).fill('0'), ...after].slice(0, 4).join(':')
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

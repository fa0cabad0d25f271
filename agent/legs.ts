/** The two tunnels of one service: which proxy each of them is at, so that they never meet at the same. */
import type { ProxyId } from '../core/ids.ts'

export interface Leg {
  stands(at: ProxyId): void
  /** Not to be counted on any more. */
  fell(): void
  /** It fell because its proxy leaves; what came of it serves until it has left. */
  lingers(): void
  left(): void
  /** A dial failed; `same`: it led to where the other leg is. How many such in a row there were, this one included. */
  failed(same: boolean): number
  /** That proxy was met at this address. */
  passedBy(address: string, proxyId: ProxyId): void
}

export interface Legs {
  readonly first: Leg
  readonly second: Leg
  connected(): ProxyId[]
  /** Where streams come in: the connected ones or, without any, those that linger. */
  serving(): ProxyId[]
  heldByOther(leg: Leg, proxyId: ProxyId): boolean
  /** Addresses where the other leg is known to be come last: behind one load balancer that cannot be told. */
  sorted(leg: Leg, addresses: readonly string[]): string[]
  /** Takes how many proxies there are; true when there are more than ever before. */
  count(proxies: number): boolean
  /** Resolves when there is more than one proxy. Resolves too when the signal aborts. */
  several(signal: AbortSignal): Promise<void>
}

export function createLegs(): Legs {
  const at = new Map<Leg, ProxyId>()
  const last = new Map<Leg, ProxyId>()
  const lingering = new Map<Leg, ProxyId>()
  const met = new Map<string, ProxyId>()
  let most = 0
  let enough: () => void = () => undefined
  const many = new Promise<void>((resolve) => (enough = resolve))

  const leg = (): Leg => {
    let same = 0
    const own: Leg = {
      stands(proxyId) {
        at.set(own, proxyId)
        last.set(own, proxyId)
        lingering.delete(own)
        same = 0
      },
      fell: () => void at.delete(own),
      lingers() {
        const proxyId = last.get(own)
        if (proxyId) lingering.set(own, proxyId)
      },
      left: () => void lingering.delete(own),
      failed: (again) => (same = again ? same + 1 : 0),
      passedBy: (address, proxyId) => void met.set(address, proxyId),
    }
    return own
  }
  const first = leg()
  const second = leg()
  const heldByOther = (one: Leg, proxyId: ProxyId): boolean =>
    at.get(one === first ? second : first) === proxyId

  return {
    first,
    second,
    connected: () => [...at.values()],
    serving: () => [...(at.size > 0 ? at : lingering).values()],
    heldByOther,
    sorted(one, addresses) {
      const taken = (address: string): boolean => {
        const proxyId = met.get(address)
        return proxyId !== undefined && heldByOther(one, proxyId)
      }
      const free = addresses.filter((address) => !taken(address))
      return free.length > 0 ? free : [...addresses]
    },
    count(proxies) {
      if (proxies > 1) enough()
      const more = proxies > most
      most = Math.max(most, proxies)
      return more && proxies > 1
    },
    several(signal) {
      const stopped = new Promise<void>((resolve) =>
        signal.addEventListener('abort', () => resolve(), { once: true }),
      )
      return Promise.race([many, stopped])
    },
  }
}

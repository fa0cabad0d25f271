/** Where `up` listens, by which names it is reached, and so which names its TLS certificate carries. */
import { isIP } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'

const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::'
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/** Link-local addresses need a zone and are of no use in a certificate. */
const interfaceAddresses = (): string[] =>
  Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter((i) => !i.internal && !i.address.startsWith('fe80') && !i.address.startsWith('169.254'))
    .sort((a, b) => (a.family === b.family ? 0 : a.family === 'IPv4' ? -1 : 1))
    .map((i) => i.address)

export interface Names {
  readonly dns: readonly string[]
  readonly ips: readonly string[]
  /** The name that others dial, first in every list. */
  readonly main: string
}

const DNS_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/

export function namesFor(host: string): Names {
  const own = hostname().toLowerCase()
  const outside = isWildcard(host) ? interfaceAddresses() : [host]
  const all = [...new Set([...outside, 'localhost', '127.0.0.1', '::1', own])]
  return {
    dns: all.filter((name) => isIP(name) === 0 && DNS_NAME.test(name)),
    ips: all.filter((name) => isIP(name) !== 0),
    main: outside[0] ?? '127.0.0.1',
  }
}

export const sameNames = (a: Names, b: Names): boolean =>
  a.dns.join() === b.dns.join() && a.ips.join() === b.ips.join()

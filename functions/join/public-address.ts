/**
 * Addresses on the public internet. Whoever may write a token resource names an issuer; that must not become a way to make the
 * control plane call services of its own network, or the metadata service of its cloud.
 */
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { lookup, type LookupAddress } from 'node:dns'

const special = new BlockList()
// IANA special-purpose registries, and multicast.
const V4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['168.63.129.16', 32],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
]
for (const [net, bits] of V4) special.addSubnet(net, bits, 'ipv4')
const global = new BlockList()
global.addSubnet('2000::', 3, 'ipv6')
// Inside the global range: addresses that carry IPv4 ones, benchmarks, documentation.
const V6: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]
for (const [net, bits] of V6) special.addSubnet(net, bits, 'ipv6')

/** False for everything that is no numeric address. Mapped and translated IPv4 addresses lie outside the global range. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !special.check(address, 'ipv4')
    case 6:
      return global.check(address, 'ipv6') && !special.check(address, 'ipv6')
    default:
      return false
  }
}

/**
 * Resolves a name once, and answers only when every address is public: what was checked is what is dialled, whatever the name
 * resolves to a moment later.
 */
export const publicLookup: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return done(error, '', 0)
    const hidden = addresses.find(({ address }) => !isPublicAddress(address))
    const first = addresses[0]
    if (hidden || !first)
      return done(new Error(`${hostname} has an address that is not public`), '', 0)
    if (options.all) done(null, addresses)
    else done(null, first.address, first.family)
  })
}

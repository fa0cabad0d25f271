/**
 * Addresses that no forward reaches: link-local ones and the metadata services of clouds, which hand the machine's own
 * credentials to whoever can open a connection from it.
 */
import { BlockList, isIP } from 'node:net'

const refused = new BlockList()
refused.addSubnet('169.254.0.0', 16, 'ipv4')
refused.addAddress('100.100.100.200', 'ipv4') // Alibaba Cloud
refused.addAddress('192.0.0.192', 'ipv4') // Oracle Cloud, classic
refused.addAddress('168.63.129.16', 'ipv4') // Azure wire server
refused.addSubnet('fe80::', 10, 'ipv6')
refused.addAddress('fd00:ec2::254', 'ipv6') // EC2
refused.addAddress('fd20:ce::254', 'ipv6') // Google Cloud

/** Prefixes that carry an IPv4 address in their last 32 bits: mapped, compatible, NAT64. */
const CARRIERS = [/^::ffff:/, /^::ffff:0:/, /^64:ff9b::/, /^::(?=[0-9a-f])/]

/** Whether a forward to this numeric address is refused. Not an address at all: refused too. */
export function refusedAddress(address: string): boolean {
  const plain = address.replace(/%.*$/, '')
  switch (isIP(plain)) {
    case 4:
      return refused.check(plain, 'ipv4')
    case 6: {
      const canonical = new URL(`http://[${plain}]/`).hostname.slice(1, -1)
      const carried = CARRIERS.filter((prefix) => prefix.test(canonical))
        .map((prefix) => embedded(canonical.replace(prefix, '')))
        .find((v4) => v4 !== undefined)
      return (
        refused.check(canonical, 'ipv6') ||
        (carried !== undefined && refused.check(carried, 'ipv4'))
      )
    }
    default:
      return true
  }
}

/** `a9fe:a9fe` as dotted text. */
function embedded(tail: string): string | undefined {
  const words = tail.split(':').map((word) => parseInt(word, 16))
  const [high, low, ...more] = words
  if (high === undefined || low === undefined || more.length > 0) return undefined
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** `HTTPS_PROXY` and `NO_PROXY`, read alike for everything that dials: which forward proxy a connection goes through, if any. */
import { BlockList, isIP } from 'node:net'

/** The forward proxy for this address, `http://[user:password@]host:port`; undefined: dial directly. */
export type ForwardProxy = (host: string, port: number) => string | undefined

type Env = Readonly<Record<string, string | undefined>>

const first = (...values: (string | undefined)[]): string | undefined =>
  values.map((value) => value?.trim()).find((value) => value !== undefined && value !== '')

const bare = (host: string): string =>
  host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4')

/** `10.0.0.0/8`, `fd00::/8`; undefined for everything else. */
function network(entry: string): BlockList | undefined {
  const [address = '', bits = '', more] = entry.split('/')
  const version = isIP(address)
  if (version === 0 || more !== undefined || !/^\d{1,3}$/.test(bits)) return undefined
  if (Number(bits) > (version === 6 ? 128 : 32)) return undefined
  const list = new BlockList()
  list.addSubnet(address, Number(bits), familyOf(address))
  return list
}

/** One entry of NO_PROXY as a question. */
function covers(entry: string): (host: string, port: number) => boolean {
  if (entry === '*') return () => true
  const block = network(entry)
  if (block) return (host) => isIP(host) > 0 && block.check(host, familyOf(host))
  // A colon is a port, but for an IPv6 address that stands without brackets.
  const [, name = entry, port] =
    isIP(entry) === 6 ? [] : (/^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(entry) ?? [])
  const wanted = bare(name.replace(/^\*?\./, ''))
  if (wanted === '') return () => false
  return (host, at) =>
    (port === undefined || Number(port) === at) &&
    (host === wanted || (isIP(host) === 0 && host.endsWith(`.${wanted}`)))
}

/**
 * By the environment, as other programs read it: `HTTPS_PROXY` (without a scheme: http), and `NO_PROXY`, a list with commas or
 * blanks of hosts, domains (`example.com`, `.example.com`, `*.example.com`: each with what is under it), addresses, networks
 * (`10.0.0.0/8`), each host with `:port` if it is meant for that port alone, or `*`. Names of either case; nothing is exempt by
 * itself, loopback neither. A name is compared as it stands and not resolved.
 */
export function forwardProxy(env: Env): ForwardProxy {
  const given = first(env['HTTPS_PROXY'], env['https_proxy'])
  if (given === undefined) return () => undefined
  const proxy = given.includes('://') ? given : `http://${given}`
  const direct = (first(env['NO_PROXY'], env['no_proxy']) ?? '')
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map(covers)
  return (host, port) => {
    const plain = bare(host)
    return direct.some((covered) => covered(plain, port)) ? undefined : proxy
  }
}

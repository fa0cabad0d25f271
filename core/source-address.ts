/**
 * Whose request it is, by address: what limits by source count. Behind a load balancer that ends TLS the address is in
 * `X-Forwarded-For`, which anybody can write; it counts only as far as it was written by addresses that the operator named.
 */
import { formatIp, inNetwork, parseIp, type Network } from './certs/ip.ts'

/** One IPv6 customer holds a whole /64, so that prefix is one source. IPv4 in IPv6 clothes is itself. */
export function sourceKey(address: string | undefined): string {
  const bytes = parseIp(address?.split('%')[0] ?? '')
  if (!bytes) return 'unknown'
  return bytes.length === 4
    ? formatIp(bytes)
    : `${formatIp(Buffer.concat([bytes.subarray(0, 8), Buffer.alloc(8)]))}/64`
}

/** Entries of a header that are looked at; each load balancer on the way adds one. */
const HOPS = 8

/**
 * The address of the client. Read from the right: each entry was added by the hop that stands right of it (the last by `peer`), so
 * reading goes on while that hop is trusted and ends at the first address that is not. An entry that is no address ends it too.
 */
export function clientAddress(
  peer: string,
  forwardedFor: string | undefined,
  trusted: readonly Network[],
): string {
  const isTrusted = (address: string): boolean => {
    const bytes = parseIp(address)
    return bytes !== undefined && trusted.some((network) => inNetwork(bytes, network))
  }
  let client = peer
  const entries = (forwardedFor ?? '').split(',').slice(-HOPS).reverse()
  for (const entry of entries) {
    if (!isTrusted(client)) break
    // Some write the port as well.
    const [, v6, v4] = /^\[([^\]]+)\](?::\d+)?$|^([\d.]+)(?::\d+)?$/.exec(entry.trim()) ?? []
    const address = v6 ?? v4 ?? entry.trim()
    if (!parseIp(address)) break
    client = address
  }
  return client
}

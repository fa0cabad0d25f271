/**
 * Connections of this process come from addresses of loopback in turn, as agents come from many places: one address alone runs into
 * the proxy's limit for a source, and out of ports above some 28,000.
 */
import net, { type NetConnectOpts } from 'node:net'
import { syncBuiltinESMExports } from 'node:module'

export function comeFrom(count: number, first: number): void {
  const { connect } = net
  let turn = 0
  net.connect = ((options: NetConnectOpts, ...rest: []) => {
    const n = first + (turn++ % count)
    const localAddress = `127.${1 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`
    return connect({ ...options, localAddress } as NetConnectOpts, ...rest)
  }) as typeof net.connect
  syncBuiltinESMExports()
}

// What counts as one source, and whose word on it counts.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseNetwork, type Network } from '../../core/certs/ip.ts'
import { clientAddress, sourceKey } from '../../core/source-address.ts'

test.each([
  ['an IPv4 address is itself', '203.0.113.7', '203.0.113.7'],
  ['IPv4 in IPv6 clothes is the IPv4 address', '::ffff:203.0.113.7', '203.0.113.7'],
  ['an IPv6 address is its /64', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['however it is written', '2001:DB8:1:2::6', '2001:db8:1:2::/64'],
  ['zeros that were left out count', '2001:db8::1', '2001:db8::/64'],
  ['also in front', '::1', '::/64'],
  ['a zone is no part of it', 'fe80::1%eth0', 'fe80::/64'],
  ['no address at all is one source', undefined, 'unknown'],
  ['and so is whatever is none', 'localhost', 'unknown'],
])('%s', (_, address, key) => expect(sourceKey(address)).toBe(key))

const networks = (...texts: string[]): Network[] =>
  texts.map((text) => parseNetwork(text)).filter((network) => network !== undefined)
const LB = networks('10.0.0.0/8', '2001:db8:1b::/48')

describe('the address of a client', () => {
  test.each<[string, string, string | undefined, Network[], string]>([
    ['is the peer when nobody is trusted', '10.0.0.1', '203.0.113.7', [], '10.0.0.1'],
    ['is the peer when the peer is not trusted', '192.0.2.1', '203.0.113.7', LB, '192.0.2.1'],
    ['is what a trusted peer says', '10.0.0.1', '203.0.113.7', LB, '203.0.113.7'],
    ['over IPv6 too', '2001:db8:1b::1', '2001:db8:9::7', LB, '2001:db8:9::7'],
    ['when the socket says it in IPv6', '::ffff:10.0.0.1', '203.0.113.7', LB, '203.0.113.7'],
    ['is not what the client wrote before', '10.0.0.1', '1.1.1.1, 203.0.113.7', LB, '203.0.113.7'],
    ['is behind two trusted hops', '10.0.0.1', '1.1.1.1, 203.0.113.7, 10.0.0.2', LB, '203.0.113.7'],
    ['without its port', '10.0.0.1', '203.0.113.7:4711', LB, '203.0.113.7'],
    ['without its brackets', '10.0.0.1', '[2001:db8:9::7]:4711', LB, '2001:db8:9::7'],
    [
      'is the last hop that is known when an entry is none',
      '10.0.0.1',
      '203.0.113.7, unknown',
      LB,
      '10.0.0.1',
    ],
    ['is the peer when there is no header', '10.0.0.1', undefined, LB, '10.0.0.1'],
    ['is the peer when the header is empty', '10.0.0.1', '', LB, '10.0.0.1'],
    ['is the outermost when all are trusted', '10.0.0.1', '10.9.9.9, 10.0.0.2', LB, '10.9.9.9'],
  ])('%s', (_, peer, header, trusted, client) => {
    expect(clientAddress(peer, header, trusted)).toBe(client)
  })

  test('is never one that a client chose, whatever it writes before the load balancer does', () => {
    fc.assert(
      fc.property(fc.string(), fc.ipV4(), (written, own) => {
        const client = `198.51.100.${own.split('.')[3]}`
        expect(clientAddress('10.0.0.1', `${written}, ${client}`, LB)).toBe(client)
        expect(clientAddress(client, `${written}, ${own}`, LB)).toBe(client)
      }),
    )
  })
})

// Who may begin a handshake, and what counts as one source.
import { expect, test } from 'vitest'
import { createAdmission, sourceKey } from '../../../proxy/admission.ts'

test.each([
  ['an IPv4 address is itself', '203.0.113.7', '203.0.113.7'],
  ['IPv4 in IPv6 clothes is the IPv4 address', '::ffff:203.0.113.7', '203.0.113.7'],
  ['an IPv6 address is its /64', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['however it is written', '2001:DB8:1:2::6', '2001:db8:1:2'],
  ['zeros that were left out count', '2001:db8::1', '2001:db8:0:0'],
  ['also in front', '::1', '0:0:0:0'],
  ['a zone is no part of it', 'fe80::1%eth0', 'fe80:0:0:0'],
  ['no address at all is one source', undefined, 'unknown'],
])('%s', (_, address, key) => expect(sourceKey(address)).toBe(key))

const limits = { tunnels: 5, handshakes: 3, handshakesPerSource: 2 }
const slot = (admission: ReturnType<typeof createAdmission>, source: string, tunnels = 0) => {
  const got = admission.admit(source, tunnels)
  if (typeof got === 'string') throw new Error(got)
  return got
}

test('each limit refuses by its name, and a slot that is freed is given again', () => {
  const admission = createAdmission(limits)
  const first = slot(admission, 'a')
  slot(admission, 'a')
  expect(admission.admit('a', 0)).toBe('source')
  slot(admission, 'b')
  expect(admission.admit('c', 0)).toBe('handshakes')
  first.release()
  expect(admission.pending).toBe(2)
  slot(admission, 'a')
  expect(admission.pending).toBe(3)
})

test('handshakes under way count as tunnels to be', () => {
  const admission = createAdmission(limits)
  slot(admission, 'a', 4)
  expect(admission.admit('b', 4)).toBe('tunnels')
})

test('freeing a slot twice frees one', () => {
  const admission = createAdmission(limits)
  const held = slot(admission, 'a')
  slot(admission, 'a')
  held.release()
  held.release()
  expect(admission.pending).toBe(1)
  slot(admission, 'a')
  expect(admission.admit('a', 0)).toBe('source')
})

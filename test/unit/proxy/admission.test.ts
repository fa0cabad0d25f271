// Who may begin a handshake.
import { expect, test } from 'vitest'
import { parseNetwork } from '../../../core/certs/ip.ts'
import { createAdmission, shareOf } from '../../../proxy/admission.ts'

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

test('a source is the peer, or whom a load balancer that was named says it is', () => {
  const open = createAdmission()
  expect(open.sourceOf('10.0.0.1', '203.0.113.7')).toBe('10.0.0.1')
  const network = parseNetwork('10.0.0.0/8')
  const behind = createAdmission({ trustedProxies: network ? [network] : [] })
  expect(behind.sourceOf('10.0.0.1', '203.0.113.7')).toBe('203.0.113.7')
  expect(behind.sourceOf('192.0.2.1', '203.0.113.7')).toBe('192.0.2.1')
})

test('several processes share the limits, and an office behind one address keeps room in each of many', () => {
  const limits = { tunnels: 10_000, handshakes: 512, handshakesPerSource: 128 }
  expect(shareOf(limits, 1)).toMatchObject(limits)
  expect(shareOf(limits, 2)).toMatchObject({
    tunnels: 5000,
    handshakes: 256,
    handshakesPerSource: 64,
  })
  expect(shareOf(limits, 16)).toMatchObject({ handshakes: 32, handshakesPerSource: 16 })
  expect(shareOf(limits, 64)).toMatchObject({ handshakes: 8, handshakesPerSource: 4 })
})

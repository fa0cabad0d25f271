/** The sealed challenge: made here, for one join, unreadable and unchangeable by who carries it. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { generateKey, thumbprint } from '../../../core/certs/signer.ts'
import { instant } from '../../../core/clock.ts'
import { openChallenge, sealChallenge } from '../../../core/join/challenge.ts'
import { systemRandom } from '../../../core/random.ts'
import { createSealer, deriveKey } from '../../../core/seal.ts'

const sealer = createSealer(systemRandom.bytes(32))
const now = instant(1_800_000_000_500)
const bound = {
  method: 'token',
  token: 'handle-of-the-token',
  service: 'ssh',
  enrolment: thumbprint(generateKey().publicKey),
  serviceKey: thumbprint(generateKey().publicKey),
} as const
const { challenge, expires } = sealChallenge(sealer, bound, now)

describe('a challenge', () => {
  test('opens to what it was bound to, good for a minute', () => {
    expect(openChallenge(sealer, challenge)).toEqual({ ...bound, expires })
    expect(expires - now).toBeLessThanOrEqual(60_000)
    expect(expires - now).toBeGreaterThan(58_000)
  })
  test('shows nothing of what it is bound to', () => {
    const bytes = Buffer.from(challenge, 'base64url').toString('latin1')
    expect(bytes).not.toContain(bound.token)
    expect(bytes).not.toContain(bound.enrolment)
  })
  test('CVE-2024-41260 (NetBird): is another one each time, under a fresh nonce', () => {
    expect(sealChallenge(sealer, bound, now).challenge).not.toBe(challenge)
  })
  test('of another server does not open', () => {
    expect(openChallenge(createSealer(systemRandom.bytes(32)), challenge)).toBeUndefined()
  })
  test('with any one byte changed does not open', () => {
    const bytes = Buffer.from(challenge, 'base64url')
    for (let i = 0; i < bytes.length; i++) {
      const broken = Buffer.from(bytes)
      broken[i] = (broken[i] ?? 0) ^ 1
      expect(openChallenge(sealer, broken.toString('base64url'))).toBeUndefined()
    }
  })
  test('cut at any length does not open', () => {
    for (let n = 0; n < challenge.length; n++)
      expect(openChallenge(sealer, challenge.slice(0, n))).toBeUndefined()
  })
  test('that is any text does not open and breaks nothing', () => {
    fc.assert(fc.property(fc.string(), (text) => openChallenge(sealer, text) === undefined))
  })
})

test('what is sealed for one purpose does not open for another', () => {
  const master = systemRandom.bytes(32)
  const one = createSealer(deriveKey(master, 'challenge'))
  const two = createSealer(deriveKey(master, 'answer'))
  const sealed = one.seal(Buffer.from('x'), 'context')
  expect(one.open(sealed, 'context')?.toString()).toBe('x')
  expect(one.open(sealed, 'another context')).toBeUndefined()
  expect(two.open(sealed, 'context')).toBeUndefined()
})

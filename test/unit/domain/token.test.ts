// Tokens: secrets of 256 bits, one use and thirty minutes unless told otherwise, and a clock that decides.
import { expect, test } from 'vitest'
import { instant, plus } from '../../../core/clock.ts'
import {
  isTokenSecret,
  newTokenSecret,
  tokenSecretHash,
} from '../../../core/domain/token-secret.ts'
import { newToken, tokenState } from '../../../core/domain/token.ts'
import { systemRandom } from '../../../core/random.ts'
import { handClock } from '../../support/clock.ts'

const clock = handClock()
const short = (value: object) =>
  newToken({ form: 'short', value: { roles: ['Node'], ...value } }, { name: 'made', clock })

test('one use and thirty minutes are the default', () => {
  const token = short({})
  expect(token).toMatchObject({ name: 'made', maxUses: 1, method: 'token' })
  expect(token.expires - token.created).toBe(30 * 60_000)
})

test('max_uses null is any number of uses', () => {
  expect(short({ max_uses: null }).maxUses).toBeUndefined()
})

test('the state follows uses and the clock, to the millisecond', () => {
  const token = short({ ttl: 1000 })
  expect(tokenState(token, plus(clock.now(), 999))).toBe('active')
  expect(tokenState(token, plus(clock.now(), 1000))).toBe('expired')
  expect(tokenState({ ...token, uses: 1 }, clock.now())).toBe('used up')
  expect(tokenState({ ...token, uses: 1 }, instant(token.expires))).toBe('expired')
})

test('secrets have 256 bits, a known shape, and a hash that does not hold them', () => {
  const secret = newTokenSecret(systemRandom)
  expect(secret).toMatch(/^pst_join_[A-Za-z0-9_-]{43}$/)
  expect(isTokenSecret(secret)).toBe(true)
  expect(isTokenSecret(`${secret}x`)).toBe(false)
  expect(tokenSecretHash(secret)).not.toContain(secret.slice(9, 20))
})

/** The rule of a join, case by case. */
import { expect, test } from 'vitest'
import { instant, plus } from '../../../core/clock.ts'
import type { JoinToken } from '../../../core/domain/token.ts'
import { admit, type JoinWish } from '../../../core/join/admit.ts'
import { joinMethods, type MethodDeps } from '../../../core/join/methods.ts'

const now = instant(1_800_000_000_000)
const token: JoinToken = {
  name: 't',
  method: 'token',
  roles: ['Node'],
  created: now,
  expires: plus(now, 1),
  maxUses: 1,
  uses: 0,
  labels: {},
  description: undefined,
  suggestedLabels: {},
  forcedLabels: {},
  allowedNames: undefined,
  sharedNames: false,
  methodSpec: undefined,
}
const wish: JoinWish = { method: 'token', service: 'ssh', nodeName: 'web-1' }

test.each([
  ['a fitting token is admitted', token, wish, undefined],
  [
    'a used-up token passes: only the commit knows whose use it was',
    { ...token, uses: 1 },
    wish,
    undefined,
  ],
  ['no token', undefined, wish, 'unknown token'],
  ['a token that expires now', { ...token, expires: now }, wish, 'expired'],
  ['a token of another method', { ...token, method: 'iam' as never }, wish, 'wrong method'],
  [
    'a service without its role',
    token,
    { ...wish, service: 'app' as const },
    'service not allowed',
  ],
  ['a name on the list', { ...token, allowedNames: ['web-1'] }, wish, undefined],
  ['a name not on the list', { ...token, allowedNames: ['web-2'] }, wish, 'name not allowed'],
  [
    'an expired token does not tell its roles',
    { ...token, expires: now },
    { ...wish, service: 'app' as const },
    'expired',
  ],
])('%s', (_, given, wanted, reason) => {
  expect(admit(given, wanted, now)).toBe(reason)
})

test('an unknown method is refused by name', () => {
  const joinMethod = joinMethods({} as MethodDeps)
  expect(() => joinMethod('magic')).toThrow(/use one of token/)
  expect(() => joinMethod('constructor')).toThrow(/use one of token/)
})

// Durations, ids, errors, clock: the ground everything stands on.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { instant, sleep } from '../../core/clock.ts'
import { formatDuration, parseDuration } from '../../core/duration.ts'
import { AppError, ERRORS, reasonOf, toAppError } from '../../core/errors.ts'
import { newId, parseId } from '../../core/ids.ts'
import { systemRandom } from '../../core/random.ts'
import { handClock } from '../support/clock.ts'

describe('durations', () => {
  test.each([
    ['30m', 1_800_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
    ['', undefined],
    ['30', undefined],
    ['-1m', undefined],
    ['1 h', undefined],
    ['1e3s', undefined],
  ])('%j is %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })
  test('what is printed can be read again', () => {
    fc.assert(
      fc.property(fc.nat(10_000_000), (s) => {
        expect(parseDuration(formatDuration(s * 1000))).toBe(s * 1000)
      }),
    )
  })
})

describe('ids', () => {
  test('sort by time, carry their kind, and are parsed back', () => {
    const a = newId('agent', instant(1), systemRandom)
    const b = newId('agent', instant(2_000_000_000_000), systemRandom)
    expect(a < b).toBe(true)
    expect(parseId('agent', a)).toBe(a)
    expect(parseId('proxy', a)).toBeUndefined()
    expect(parseId('agent', `${a}\n`)).toBeUndefined()
  })
  test('two ids of one instant differ', () => {
    const made = new Set(
      Array.from({ length: 1000 }, () => newId('event', instant(5), systemRandom)),
    )
    expect(made.size).toBe(1000)
  })
})

describe('errors', () => {
  test('the exact reason never stands in the message', () => {
    const e = new AppError('ERR_JOIN_REFUSED', undefined, { internal: 'token web expired' })
    expect(e.message).not.toContain('web')
    expect(reasonOf(e)).toBe('token web expired')
  })
  test('what is not ours becomes an internal error that tells the caller nothing', () => {
    const e = toAppError(new Error('password=x'))
    expect(e.code).toBe('ERR_INTERNAL')
    expect(e.message).not.toContain('password')
  })
  test('every close code is in the range RFC 6455 leaves to applications', () => {
    for (const kind of Object.values(ERRORS))
      expect(kind.wsClose).toSatisfy((c: number) => c >= 4000 && c < 5000)
  })
})

test('sleep ends with the clock, and at once when aborted', async () => {
  const clock = handClock()
  const done = sleep(clock, 1000)
  clock.advance(1000)
  await done
  const abort = new AbortController()
  const cut = sleep(clock, 1000, abort.signal)
  abort.abort(new Error('enough'))
  await expect(cut).rejects.toThrow('enough')
})

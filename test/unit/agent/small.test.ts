/** Small rules of the agent: retrying, the proxy of the environment, the log, the first frame inside an app stream. */
import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { createLog } from '../../../agent/log.ts'
import { backoff, retrying } from '../../../agent/retry.ts'
import { AppError, type ErrorCode } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import {
  checkInnerAnswer,
  encodeInnerAnswer,
  encodeInnerHello,
  INNER_FRAME_MAX,
  innerRefusal,
  parseInnerHello,
  readInnerFrame,
  takeInnerFrame,
} from '../../../core/tunnel/inner.ts'
import { handClock } from '../../support/clock.ts'

describe('retrying', () => {
  const signal = new AbortController().signal
  const failing = (codes: ErrorCode[]) => {
    let tries = 0
    return {
      attempt: async () => {
        const code = codes[tries++]
        if (code) throw new AppError(code)
        return tries
      },
      tries: () => tries,
    }
  }

  test('goes on through what may pass and stops at what will not', async () => {
    const clock = handClock()
    const options = {
      clock,
      random: systemRandom,
      signal,
      onRetry: () => queueMicrotask(() => clock.advance(LIMITS.backoffMax.value)),
    }
    const passing = failing(['ERR_UNREACHABLE', 'ERR_TIMEOUT'])
    expect(await retrying(passing.attempt, options)).toBe(3)
    const fatal = failing(['ERR_UNREACHABLE', 'ERR_JOIN_REFUSED', 'ERR_TIMEOUT'])
    await expect(retrying(fatal.attempt, options)).rejects.toMatchObject({
      code: 'ERR_JOIN_REFUSED',
    })
    expect(fatal.tries()).toBe(2)
  })

  test('pauses grow to the limit and never go to nothing', () => {
    const low = { ...systemRandom, float: () => 0 }
    const high = { ...systemRandom, float: () => 1 }
    expect(backoff(1, low)).toBeGreaterThan(0)
    expect(backoff(1, high)).toBe(LIMITS.backoffMin.value)
    expect(backoff(60, high)).toBe(LIMITS.backoffMax.value)
  })

  test('an abort ends the wait at once', async () => {
    const stop = new AbortController()
    const run = retrying(failing(['ERR_UNREACHABLE']).attempt, {
      clock: handClock(),
      random: systemRandom,
      signal: stop.signal,
      onRetry: () => queueMicrotask(() => stop.abort(new Error('stopped'))),
    })
    await expect(run).rejects.toThrow('stopped')
  })
})

test('the log blanks what looks like a token, and one event is one line', () => {
  const written: string[] = []
  const real = process.stderr.write.bind(process.stderr)
  process.stderr.write = (text) => written.push(String(text)) > 0
  try {
    for (const format of ['text', 'json'] as const)
      createLog({ output: 'stderr', severity: 'INFO', format }, handClock()).info('a.b', {
        secret: `pst_join_${'x'.repeat(43)}`,
        text: 'two\nlines "quoted"',
        absent: undefined,
      })
  } finally {
    process.stderr.write = real
  }
  expect(written).toHaveLength(2)
  expect(written.join()).not.toContain('xxxx')
  expect(written.every((line) => line.indexOf('\n') === line.length - 1)).toBe(true)
  expect(JSON.parse(written[1] ?? '')).toMatchObject({ severity: 'INFO', event: 'a.b' })
})

describe('the first frame inside an app stream', () => {
  const signal = new AbortController().signal

  test('comes through in any chunking, and what follows is kept', async () => {
    const bytes = Buffer.concat([encodeInnerHello('grafana'), Buffer.from('GET / HTTP/1.1')])
    for (const size of [1, 3, 7, bytes.length]) {
      const stream = new PassThrough()
      const frame = readInnerFrame(stream, signal)
      for (let at = 0; at < bytes.length; at += size) stream.write(bytes.subarray(at, at + size))
      stream.end()
      expect(parseInnerHello(await frame)).toEqual({ v: 1, kind: 'app', name: 'grafana' })
      const rest: Buffer[] = []
      for await (const part of stream) rest.push(part as Buffer)
      expect(Buffer.concat(rest).toString()).toBe('GET / HTTP/1.1')
    }
  })

  test('a giant length is refused before a byte of it is kept', () => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(INNER_FRAME_MAX + 1)
    expect(() => takeInnerFrame(length)).toThrowError(
      expect.objectContaining({ code: 'ERR_INPUT_TOO_LARGE' }),
    )
  })

  test.each([
    [{ v: 2, kind: 'app', name: 'a' }],
    [{ v: 1, kind: 'db', name: 'a' }],
    [{ v: 1, kind: 'app', name: '../a' }],
    [{ v: 1, kind: 'app', name: 'a', more: 1 }],
    [null],
  ])('%o is no hello', (value) => {
    expect(() => parseInnerHello(value)).toThrowError(
      expect.objectContaining({ code: 'ERR_INPUT_INVALID' }),
    )
  })

  test('an end or an abort before the frame rejects', async () => {
    const ended = new PassThrough()
    const frame = readInnerFrame(ended, signal)
    ended.end(Buffer.from([0, 0]))
    await expect(frame).rejects.toMatchObject({ code: 'ERR_STREAM_RESET' })
    const stop = new AbortController()
    const aborted = readInnerFrame(new PassThrough(), stop.signal)
    stop.abort(new AppError('ERR_TIMEOUT'))
    await expect(aborted).rejects.toMatchObject({ code: 'ERR_TIMEOUT' })
  })

  test('a refusal arrives with its code, an unknown code as a denial', () => {
    const taken = takeInnerFrame(
      encodeInnerAnswer(innerRefusal(new AppError('ERR_UPSTREAM_UNREACHABLE'))),
    )
    expect(() => checkInnerAnswer(taken?.value)).toThrowError(
      expect.objectContaining({ code: 'ERR_UPSTREAM_UNREACHABLE' }),
    )
    expect(() =>
      checkInnerAnswer({ v: 1, ok: false, code: 'ERR_OF_THE_FUTURE', message: 'no' }),
    ).toThrowError(expect.objectContaining({ code: 'ERR_ACCESS_DENIED' }))
  })
})

// How long a new connection is tried for: what passes is waited for, what is refused is refused at once.
import { expect, test } from 'vitest'
import { persist, type Again } from '../../../cli/connect/persist.ts'
import { AppError, type ErrorCode } from '../../../core/errors.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { failure } from '../../support/pki.ts'

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))
const random = { bytes: (n: number) => Buffer.alloc(n), float: () => 0.5 }
const OPEN = { opened: true }
const nodeError = (code: string): Error => Object.assign(new Error(code), { code })

function world(once: (tries: number, clock: HandClock) => typeof OPEN | Again | AppError) {
  const clock = handClock()
  const stop = new AbortController()
  const at: number[] = []
  let over = false
  const result = persist(
    async (tries) => {
      at.push(clock.monotonic())
      const said = once(tries, clock)
      if (said instanceof AppError) throw said
      return said
    },
    { clock, random, signal: stop.signal },
  ).finally(() => (over = true))
  result.catch(() => undefined)
  return {
    ...{ clock, stop, result, at },
    /** Lets time pass until it has ended; answers how much passed. */
    async end(): Promise<number> {
      for (let ms = 0; ms < 60_000 && !over; ms += 50) {
        for (let i = 0; i < 3; i++) await turn()
        if (!over) clock.advance(50)
      }
      return clock.monotonic()
    },
  }
}
const offline = (soon: boolean): AppError =>
  new AppError('ERR_RESOURCE_OFFLINE', undefined, soon ? { details: { retryAfter: 1 } } : {})

test.each<ErrorCode>(['ERR_TUNNEL_CLOSED', 'ERR_PROXY_BUSY', 'ERR_UNREACHABLE', 'ERR_TIMEOUT'])(
  '%s passes: it is tried again, the first time at once',
  async (code) => {
    const w = world((tries) => (tries < 4 ? new AppError(code) : OPEN))
    await w.end()
    expect(await w.result).toBe(OPEN)
    expect(w.at).toHaveLength(5)
    expect(w.at[1]).toBe(0)
  },
)

test('what does not pass in ten seconds is told then, with the last reason', async () => {
  const w = world((tries) => new AppError('ERR_UNREACHABLE', `try ${tries}`))
  const took = await w.end()
  expect(took).toBeGreaterThan(8_000)
  expect(took).toBeLessThanOrEqual(10_000)
  await expect(w.result).rejects.toMatchObject({ message: `try ${w.at.length - 1}` })
  // No flood: the pauses grow.
  expect(w.at.length).toBeLessThan(20)
})

test('a first try that took longer than all of the patience is followed by another one', async () => {
  const w = world((tries, clock) => {
    clock.advance(15_000)
    return tries === 0 ? new AppError('ERR_TIMEOUT') : OPEN
  })
  expect(await w.result).toBe(OPEN)
  const lost = world((_, clock) => {
    clock.advance(15_000)
    return new AppError('ERR_TIMEOUT')
  })
  expect((await failure(() => lost.result))?.code).toBe('ERR_TIMEOUT')
  expect(lost.at).toHaveLength(2)
})

// Denied and missing are one answer of the control plane, so both end here alike.
test.each<ErrorCode>([
  'ERR_NOT_FOUND',
  'ERR_ACCESS_DENIED',
  'ERR_LOCKED',
  'ERR_FORBIDDEN',
  'ERR_ROUTE_INVALID',
  'ERR_TUNNEL_HANDSHAKE',
  'ERR_UPSTREAM_UNREACHABLE',
  'ERR_RATE_LIMITED',
  'ERR_INTERNAL',
])('%s is refused at once', async (code) => {
  const w = world(() => new AppError(code))
  expect((await failure(() => w.result))?.code).toBe(code)
  expect(w.at).toEqual([0])
})

test('a node that was here a moment ago is waited for, one that has been away is not', async () => {
  const away = world(() => offline(false))
  expect((await failure(() => away.result))?.code).toBe('ERR_RESOURCE_OFFLINE')
  expect(away.at).toEqual([0])
  const moving = world((tries) => (tries < 2 ? offline(true) : OPEN))
  await moving.end()
  expect(await moving.result).toBe(OPEN)
})

test('a certificate that nobody known vouches for is refused at once', async () => {
  const cause = Object.assign(new Error('tls'), { code: 'SELF_SIGNED_CERT_IN_CHAIN' })
  const w = world(() => new AppError('ERR_UNREACHABLE', undefined, { cause }))
  expect((await failure(() => w.result))?.code).toBe('ERR_UNREACHABLE')
  expect(w.at).toEqual([0])
})

test('the end of the session ends it, in the middle of a pause', async () => {
  const w = world(() => ({ again: new AppError('ERR_TUNNEL_CLOSED') }))
  for (let i = 0; i < 5; i++) await turn()
  w.stop.abort(new AppError('ERR_STREAM_RESET'))
  expect((await failure(() => w.result))?.code).toBe('ERR_STREAM_RESET')
})

test.each([
  [
    'a name that does not exist',
    new AppError('ERR_UNREACHABLE', '', { cause: nodeError('ENOTFOUND') }),
  ],
  ['a forward proxy that refuses', new AppError('ERR_FORWARD_PROXY')],
])('%s is told at once', async (_, error) => {
  const w = world(() => error)
  expect(await w.end()).toBe(0)
  await expect(w.result).rejects.toBe(error)
})

test('a resolver that does not answer may answer the next time', async () => {
  const cause = nodeError('EAI_AGAIN')
  const w = world((tries) => (tries < 2 ? new AppError('ERR_UNREACHABLE', '', { cause }) : OPEN))
  await w.end()
  expect(await w.result).toBe(OPEN)
})

// One of several addresses: the first that answers wins, a slow one is not waited for, and nothing that came late is left open.
import { expect, test } from 'vitest'
import { AppError } from '../../../core/errors.ts'
import { dialFirst } from '../../../net/dial-first.ts'
import { handClock } from '../../support/clock.ts'
import { failure } from '../../support/pki.ts'

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

/** Dials that end when the test says so. */
function world(...addresses: string[]) {
  const clock = handClock()
  const stop = new AbortController()
  const dialled: string[] = []
  const discarded: string[] = []
  const signals = new Map<string, AbortSignal>()
  const ends = new Map<string, { resolve(made: string): void; reject(e: unknown): void }>()
  const made = dialFirst<string>({
    addresses,
    dial(address, signal) {
      dialled.push(address)
      signals.set(address, signal)
      return new Promise((resolve, reject) => ends.set(address, { resolve, reject }))
    },
    discard: (late) => void discarded.push(late),
    clock,
    signal: stop.signal,
  })
  made.catch(() => undefined)
  return {
    ...{ clock, stop, made, dialled, discarded },
    answers: (address: string) => ends.get(address)?.resolve(`tunnel to ${address}`),
    async fails(address: string, error = new AppError('ERR_UNREACHABLE', address)) {
      ends.get(address)?.reject(error)
      await turn()
    },
    aborted: (address: string) => signals.get(address)?.aborted,
  }
}

test('one that answers in time is the only one dialled', async () => {
  const w = world('a', 'b')
  w.answers('a')
  expect(await w.made).toBe('tunnel to a')
  w.clock.advance(60_000)
  expect(w.dialled).toEqual(['a'])
})

test('one that fails is followed by the next at once', async () => {
  const w = world('a', 'b')
  await w.fails('a')
  expect(w.dialled).toEqual(['a', 'b'])
  w.answers('b')
  expect(await w.made).toBe('tunnel to b')
})

test('one that takes its time goes on while the next is tried beside it, and may still win', async () => {
  const w = world('a', 'b', 'c')
  w.clock.advance(399)
  expect(w.dialled).toEqual(['a'])
  w.clock.advance(1)
  expect(w.dialled).toEqual(['a', 'b'])
  w.clock.advance(400)
  expect(w.dialled).toEqual(['a', 'b', 'c'])
  w.answers('a')
  expect(await w.made).toBe('tunnel to a')
  expect([w.aborted('b'), w.aborted('c')]).toEqual([true, true])
})

test('what answers after the winner is ended, and a failure after it is nothing', async () => {
  const w = world('a', 'b', 'c')
  w.clock.advance(800)
  w.answers('c')
  expect(await w.made).toBe('tunnel to c')
  w.answers('a')
  await w.fails('b')
  expect(w.discarded).toEqual(['tunnel to a'])
})

test('when all fail it waits for the slowest, and says what must be changed rather than repeated', async () => {
  const w = world('a', 'b', 'c')
  w.clock.advance(800)
  await w.fails('b', new AppError('ERR_LOCKED'))
  await w.fails('c')
  expect(await Promise.race([w.made, turn()])).toBeUndefined()
  await w.fails('a')
  expect((await failure(() => w.made))?.code).toBe('ERR_LOCKED')
})

test('when all fail alike the last is told', async () => {
  const w = world('a', 'b')
  await w.fails('a')
  await w.fails('b')
  await expect(w.made).rejects.toMatchObject({ message: 'b' })
})

test('without an address nothing can be reached', async () => {
  expect((await failure(() => world().made))?.code).toBe('ERR_UNREACHABLE')
})

test('an abort ends every dial, and no other is begun', async () => {
  const w = world('a', 'b', 'c')
  w.clock.advance(400)
  w.stop.abort(new AppError('ERR_STREAM_RESET'))
  expect([w.aborted('a'), w.aborted('b')]).toEqual([true, true])
  await w.fails('a', new AppError('ERR_STREAM_RESET'))
  expect((await failure(() => w.made))?.code).toBe('ERR_STREAM_RESET')
  w.clock.advance(60_000)
  expect(w.dialled).toEqual(['a', 'b'])
})

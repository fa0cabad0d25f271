// What is on its way is bounded, so that little things never wait behind much; and the bound grows where the path takes more.
import { expect, test } from 'vitest'
import { LIMITS } from '../../../core/limits.ts'
import { Pacer } from '../../../core/tunnel/pacer.ts'
import { Pings } from '../../../core/tunnel/pings.ts'
import { handClock } from '../../support/clock.ts'

const FIRST = LIMITS.flightInitial.value

/** A pacer whose peer is `rtt` away: `pass()` lets one round trip pass and answers every PING sent before. */
async function path(rtt: number) {
  const clock = handClock(0)
  const asked: number[] = []
  const pings = new Pings(clock, (token) => asked.push(token))
  let rooms = 0
  const pacer = new Pacer(clock, pings, () => rooms++)
  const pass = async (): Promise<void> => {
    clock.advance(rtt)
    for (const token of asked.splice(0)) pings.answered(token)
    await Promise.resolve()
    await Promise.resolve()
  }
  void pings.send()
  await pass()
  return {
    pacer,
    asked,
    pass,
    clock,
    get rooms() {
      return rooms
    },
  }
}

/** Writes until it is full; the answer is how much that was. */
function fill(pacer: Pacer): number {
  let bytes = 0
  for (; !pacer.full; bytes += 16_384) pacer.wrote(16_384)
  return bytes
}

test('it is full at the bound, and has room again when the peer saw some', async () => {
  const it = await path(10)
  expect(fill(it.pacer)).toBe(FIRST)
  expect(it.asked.length).toBe(4)
  await it.pass()
  expect(it.pacer.full).toBe(false)
  expect(it.rooms).toBe(4)
})

test('a peer that never answers gets the bound and not a byte more', async () => {
  const it = await path(10)
  fill(it.pacer)
  it.clock.advance(60_000)
  expect(it.pacer.full).toBe(true)
})

test('the bound doubles each round trip while the path takes a whole one, up to its cap', async () => {
  const it = await path(100)
  const filled: number[] = []
  for (let i = 0; i < 10; i++) {
    filled.push(fill(it.pacer))
    await it.pass()
  }
  expect(filled.slice(0, 4)).toEqual([FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST])
  expect(Math.max(...filled)).toBe(LIMITS.flightMax.value)
})

test('a path that needs longer than its round trip keeps the bound', async () => {
  const it = await path(10)
  for (let i = 0; i < 5; i++) {
    expect(fill(it.pacer)).toBe(FIRST)
    it.clock.advance(30)
    await it.pass()
  }
})

test('a trickle asks for nothing', async () => {
  const it = await path(10)
  for (let i = 0; i < 100; i++) it.pacer.wrote(64)
  expect(it.asked).toEqual([])
})

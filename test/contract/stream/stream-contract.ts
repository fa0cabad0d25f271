/** What every carrier must keep of a tunnel's promises. One suite, run over memory, TCP and a WebSocket inside TLS. */
import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../core/clock.ts'
import type { AppError } from '../../../core/errors.ts'
import { createSession, type Session, type SessionHandlers } from '../../../core/tunnel/session.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import type { TunnelLimits } from '../../../core/tunnel/tunnel-limits.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import type { Pair } from '../../support/transports.ts'
import { collect, echo, offers, send, sink } from '../../support/streams.ts'

export interface TwoSessions {
  readonly client: Session
  readonly server: Session
  /** Streams the server was asked for, in order. */
  next(): Promise<TunnelStream>
  readonly closed: { client: Promise<AppError | undefined>; server: Promise<AppError | undefined> }
}

export function twoSessions(
  pair: Pair,
  handlers: { client?: Partial<SessionHandlers>; server?: Partial<SessionHandlers> } = {},
  limits: Partial<TunnelLimits> = {},
): TwoSessions {
  const budget = createWindowBudget()
  const queue = offers<TunnelStream>()
  let end: { client: (e?: AppError) => void; server: (e?: AppError) => void }
  const closedBy = (side: 'client' | 'server') =>
    new Promise<AppError | undefined>((resolve) => {
      end = { ...end, [side]: resolve }
    })
  const closed = { client: closedBy('client'), server: closedBy('server') }
  const make = (side: 'client' | 'server'): Session =>
    createSession(pair[side], {
      side,
      clock: systemClock,
      budget,
      limits,
      onOpen: (stream) => (side === 'server' ? queue.push(stream) : stream.refuse('ERR_FORBIDDEN')),
      onClose: (err) => end[side](err),
      ...handlers[side],
    })
  return { client: make('client'), server: make('server'), next: () => queue.next(), closed }
}

export function streamContract(name: string, setup: () => Promise<Pair>, megabytes: number): void {
  describe(`a tunnel over ${name}`, () => {
    let pair: Pair
    let two: TwoSessions
    const connected = async (): Promise<[TunnelStream, TunnelStream]> => {
      const opening = two.client.open(Buffer.from('ask'))
      const there = await two.next()
      there.accept(Buffer.from('yes'))
      return [await opening, there]
    }
    beforeEach(async () => {
      pair = await setup()
      two = twoSessions(pair)
    })
    afterEach(async () => {
      two.client.close()
      two.server.close()
      await pair.dispose()
    })

    test('an accepted stream carries the payloads of question and answer', async () => {
      const [here, there] = await connected()
      expect(there.payload.toString()).toBe('ask')
      expect(here.payload.toString()).toBe('yes')
      expect([here.state, there.state]).toEqual(['open', 'open'])
    })

    test('a refusal reaches the opener with its code and message, and leaves nothing behind', async () => {
      const opening = two.client.open(Buffer.from('ask'))
      ;(await two.next()).refuse('ERR_ACCESS_DENIED', 'not for you')
      await expect(opening).rejects.toMatchObject({
        code: 'ERR_ACCESS_DENIED',
        message: 'not for you',
      })
      await two.client.ping()
      expect([two.client.streams, two.server.streams]).toEqual([0, 0])
    })

    test('either side closes its direction and goes on receiving', async () => {
      const [here, there] = await connected()
      const heard = collect(there)
      send(here, Buffer.from('question'))
      here.end()
      expect((await heard).toString()).toBe('question')
      const answer = collect(here)
      send(there, Buffer.from('answer after their end'))
      there.end()
      expect((await answer).toString()).toBe('answer after their end')
      await two.client.ping()
      expect([two.client.streams, two.server.streams]).toEqual([0, 0])
    })

    test('a reset reaches the other side with its code and reason', async () => {
      const [here, there] = await connected()
      const over = new Promise<AppError | undefined>((resolve) => (here.onclose = resolve))
      here.start()
      there.reset('ERR_LOCKED', 'a lock is in force')
      expect(await over).toMatchObject({ code: 'ERR_LOCKED', message: 'a lock is in force' })
      expect(here.state).toBe('closed')
      expect(here.write(Buffer.from('late'))).toBe(false)
    })

    test(`${megabytes} MB each way at once arrive unchanged`, async () => {
      const [here, there] = await connected()
      const block = Buffer.alloc(100_003, 7)
      const total = megabytes * 1_000_000
      const [up, down] = await Promise.all([
        sink(there, total),
        sink(here, total),
        stream(here, block, total),
        stream(there, block, total),
      ])
      const expected = digest(block, total)
      expect([up, down]).toEqual([expected, expected])
    })

    test('bytes that came before start() are delivered by it, and then the end', async () => {
      const [here, there] = await connected()
      send(here, Buffer.from('early'))
      here.end()
      await two.client.ping()
      expect((await collect(there)).toString()).toBe('early')
    })

    test('a reader that stalls holds up its own stream and no other', async () => {
      const [stuck, stuckThere] = await connected()
      stuckThere.ondata = () => undefined
      stuckThere.start()
      stuck.start()
      while (stuck.write(Buffer.alloc(65_536)));
      const [here, there] = await connected()
      echo(there)
      const answer = collect(here)
      const sent = Buffer.alloc(3_000_000, 3)
      await stream(here, sent, sent.length)
      expect((await answer).equals(sent)).toBe(true)
      // What the stalled stream may hold is its window and no more.
      expect(stuckThere.bytesIn).toBeLessThanOrEqual(256 * 1024)
      expect(stuckThere.bytesIn).toBeGreaterThan(0)
    })

    test('200 streams at once each get their own bytes back', async () => {
      const streams = await Promise.all(Array.from({ length: 200 }, () => connected()))
      await Promise.all(
        streams.map(async ([here, there], i) => {
          echo(there)
          const answer = collect(here)
          send(here, Buffer.from(`stream ${i}`))
          here.end()
          expect((await answer).toString()).toBe(`stream ${i}`)
        }),
      )
      await two.client.ping()
      expect([two.client.streams, two.server.streams]).toEqual([0, 0])
    })

    // Attack: memory is used again; bytes of one stream in another's would be the worst that a tunnel can do.
    test('a stream gets its own bytes and nobody else’s, though others are reset in the middle', async () => {
      const pairs = await Promise.all(Array.from({ length: 24 }, () => connected()))
      const scratch = Buffer.alloc(50_021)
      const wrong: number[] = []
      const checked = pairs.map(([here, there], i) => {
        there.borrows = i % 2 === 0
        return new Promise<number>((resolve) => {
          let bytes = 0
          there.ondata = (piece) => {
            if (!piece.every((b) => b === i + 1)) wrong.push(i)
            bytes += piece.length
            there.consumed(piece.length)
          }
          there.onend = () => resolve(bytes)
          there.onclose = (err) => err && resolve(-1)
          there.start()
          here.start()
        })
      })
      pairs.forEach(([here], i) => {
        let left = 30
        const go = () => {
          while (left > 0) {
            // The same memory for every stream, overwritten as soon as writeCopy returns.
            scratch.fill(i + 1)
            const room = here.writeCopy(scratch)
            scratch.fill(0)
            left--
            if (left === 15 && i % 3 === 0) return here.reset()
            if (!room && left > 0) return
          }
          here.ondrain = undefined
          here.end()
        }
        here.ondrain = go
        go()
      })
      const got = await Promise.all(checked)
      expect(wrong).toEqual([])
      expect(got.filter((n) => n === 30 * scratch.length)).toHaveLength(16)
    })

    test('a ping measures the round trip', async () => {
      expect(await two.client.ping()).toBeGreaterThanOrEqual(0)
      expect(two.client.rtt).toBeLessThan(Infinity)
    })

    test('an end in good order closes both sides, and every stream with ERR_TUNNEL_CLOSED', async () => {
      const [here, there] = await connected()
      const over = [here, there].map(
        (s) => new Promise<AppError | undefined>((resolve) => (s.onclose = resolve)),
      )
      here.start()
      there.start()
      two.client.close()
      for (const err of await Promise.all(over))
        expect(err).toMatchObject({ code: 'ERR_TUNNEL_CLOSED' })
      expect(await two.closed.client).toBeUndefined()
      expect(await two.closed.server).toBeUndefined()
      await expect(two.client.open(Buffer.alloc(0))).rejects.toMatchObject({
        code: 'ERR_TUNNEL_CLOSED',
      })
    })
  })
}

/** Writes `block` again and again until `total` bytes went out, waiting where it must. */
function stream(to: TunnelStream, block: Buffer, total: number): Promise<void> {
  return new Promise((resolve) => {
    let left = total
    const go = () => {
      while (left > 0) {
        const n = Math.min(left, block.length)
        left -= n
        if (!to.write(block.subarray(0, n)) && left > 0) return
      }
      to.ondrain = undefined
      to.end()
      resolve()
    }
    to.ondrain = go
    go()
  })
}

function digest(block: Buffer, total: number): string {
  const hash = createHash('sha256')
  for (let left = total; left > 0; left -= block.length)
    hash.update(block.subarray(0, Math.min(left, block.length)))
  return hash.digest('hex')
}

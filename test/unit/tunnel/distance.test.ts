// Over distance one stream is limited by what may be on its way. In virtual time, so that the machine's load has no say: 100 ms there and back,
// a path without limit, and the windows as they ship.
import { expect, test } from 'vitest'
import { createSession, type Session } from '../../../core/tunnel/session.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import type { Transport } from '../../../core/tunnel/transport.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { handClock } from '../../support/clock.ts'

const ONE_WAY = 50
const BLOCK = Buffer.alloc(65_536, 7)
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Two transports with `ONE_WAY` ms between them. */
function apart(clock: ReturnType<typeof handClock>): [Transport, Transport] {
  const make = (peer: () => Transport): Transport => {
    const self: Transport = {
      ondata: undefined,
      ondrain: undefined,
      onend: undefined,
      buffered: 0,
      writev(bufs, bytes) {
        const message = Buffer.concat(bufs, bytes)
        clock.after(ONE_WAY, () => peer().ondata?.(message))
      },
      close: () => undefined,
    }
    return self
  }
  const a: Transport = make(() => b)
  const b: Transport = make(() => a)
  return [a, b]
}

test('one stream over 100 ms moves 40 MB/s and more once its windows have grown, and they grow within a second', async () => {
  const clock = handClock(0)
  const [near, far] = apart(clock)
  const budget = createWindowBudget()
  let there: TunnelStream | undefined
  const client = createSession(near, {
    side: 'client',
    clock,
    budget,
    onOpen: (stream) => stream.refuse('ERR_FORBIDDEN'),
  })
  const server: Session = createSession(far, {
    side: 'server',
    clock,
    budget,
    onOpen: (stream) => {
      there = stream
      stream.accept()
      stream.borrows = true
      stream.ondata = (bytes) => stream.consumed(bytes.length)
      stream.start()
    },
  })
  const pass = async (ms: number): Promise<void> => {
    for (let i = 0; i < ms; i += 5) {
      clock.advance(5)
      await turn()
      await turn()
    }
  }
  // The round trip is known before a user's first stream.
  await pass(600)
  expect(client.rtt).toBeGreaterThanOrEqual(2 * ONE_WAY)
  const opening = client.open(Buffer.alloc(0))
  await pass(200)
  const stream = await opening
  stream.start()
  const go = () => {
    while (stream.write(BLOCK));
  }
  stream.ondrain = go
  go()
  await pass(1000)
  const before = there?.bytesIn ?? 0
  await pass(1000)
  const rate = ((there?.bytesIn ?? 0) - before) / 1e6
  expect(rate).toBeGreaterThan(40)
  client.close()
  server.close()
})

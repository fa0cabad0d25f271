// Over distance one stream is limited by what may be on its way. In virtual time, so that the machine's load has no say: a path without
// limit, and the windows as they ship.
import { expect, test } from 'vitest'
import { ResumableStream } from '../../../core/tunnel/resume.ts'
import { createSession, type Session } from '../../../core/tunnel/session.ts'
import { spliceStreams } from '../../../core/tunnel/splice.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import type { Transport } from '../../../core/tunnel/transport.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { handClock, type HandClock } from '../../support/clock.ts'

const ONE_WAY = 50
const BLOCK = Buffer.alloc(65_536, 7)
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Two transports with so many ms between them, one way. */
function apart(clock: HandClock, oneWay: number): [Transport, Transport] {
  const make = (peer: () => Transport): Transport => {
    const self: Transport = {
      ondata: undefined,
      ondrain: undefined,
      onend: undefined,
      buffered: 0,
      writev(bufs, bytes) {
        const message = Buffer.concat(bufs, bytes)
        clock.after(oneWay, () => peer().ondata?.(message))
      },
      close: () => undefined,
    }
    return self
  }
  const a: Transport = make(() => b)
  const b: Transport = make(() => a)
  return [a, b]
}

async function pass(clock: HandClock, ms: number): Promise<void> {
  for (let i = 0; i < ms; i += 5) {
    clock.advance(5)
    await turn()
    await turn()
  }
}

test('one stream over 100 ms moves 40 MB/s and more once its windows have grown, and they grow within a second', async () => {
  const clock = handClock(0)
  const [near, far] = apart(clock, ONE_WAY)
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
  // The round trip is known before a user's first stream.
  await pass(clock, 600)
  expect(client.rtt).toBeGreaterThanOrEqual(2 * ONE_WAY)
  const opening = client.open(Buffer.alloc(0))
  await pass(clock, 200)
  const stream = await opening
  stream.start()
  const go = () => {
    while (stream.write(BLOCK));
  }
  stream.ondrain = go
  go()
  await pass(clock, 1000)
  const before = there?.bytesIn ?? 0
  await pass(clock, 1000)
  const rate = ((there?.bytesIn ?? 0) - before) / 1e6
  expect(rate).toBeGreaterThan(40)
  client.close()
  server.close()
})

test('a session over two hops of 300 ms: 6 MB/s, as much as may wait to be acknowledged, and 2 MB within the first five round trips', async () => {
  const clock = handClock(0)
  const budget = createWindowBudget()
  const [user, usersProxy] = apart(clock, 150)
  const [agentsProxy, agent] = apart(clock, 150)
  const refuse = (stream: TunnelStream): void => stream.refuse('ERR_FORBIDDEN')
  let far: ResumableStream | undefined
  const onAgent = (leg: TunnelStream): void => {
    leg.accept()
    const stream = new ResumableStream({ clock, budget: createWindowBudget() })
    stream.borrows = true
    stream.ondata = (bytes) => stream.consumed(bytes.length)
    stream.attach(leg, { peerNext: 0 })
    stream.start()
    far = stream
  }
  const common = { clock, budget }
  const onward = createSession(agentsProxy, { ...common, side: 'server', onOpen: refuse })
  const onUser = async (leg: TunnelStream): Promise<void> => {
    const there = await onward.open(Buffer.alloc(0))
    leg.accept()
    spliceStreams(leg, there)
  }
  const sessions = [
    createSession(agent, { ...common, side: 'client', onOpen: onAgent }),
    createSession(usersProxy, { ...common, side: 'server', onOpen: (leg) => void onUser(leg) }),
    onward,
  ]
  const client = createSession(user, { ...common, side: 'client', onOpen: refuse })
  await pass(clock, 3000)
  const opening = client.open(Buffer.alloc(0))
  await pass(clock, 1000)
  const near = new ResumableStream({ clock, budget: createWindowBudget() })
  near.attach(await opening, { peerNext: 0 })
  near.start()
  // What ssh has to say before the first bytes of a file.
  await pass(clock, 5000)
  const go = (): void => {
    while (near.write(BLOCK));
  }
  near.ondrain = go
  go()
  const moved = async (ms: number): Promise<number> => {
    const before = far?.bytesIn ?? 0
    await pass(clock, ms)
    return ((far?.bytesIn ?? 0) - before) / 1e6
  }
  expect(await moved(3000)).toBeGreaterThan(2)
  await moved(2000)
  expect((await moved(3000)) / 3).toBeGreaterThan(6)
  for (const session of [client, ...sessions]) session.close()
})

// Who is dead is noticed in time, by a clock that moves only when told to.
import { expect, test } from 'vitest'
import { rawPeer } from '../../support/raw-peer.ts'
import { frame } from '../../support/raw-peer.ts'
import { DATA, OPENED, PING, REPLY, WINDOW } from '../../../core/tunnel/frame.ts'

const pings = (peer: ReturnType<typeof rawPeer>) =>
  peer.heard.filter((f) => f.type === 'ping' && !f.reply)
const reply = (peer: ReturnType<typeof rawPeer>) => {
  for (const f of pings(peer).splice(0))
    if (f.type === 'ping') peer.send(frame(PING, REPLY, 0, f.token))
  peer.heard.length = 0
}

/** A client's stream that the peer has accepted, with so much credit. */
async function opened(credit = 1000) {
  const peer = rawPeer({ side: 'client' })
  const opening = peer.session.open(Buffer.alloc(0))
  peer.turn()
  peer.send(frame(OPENED, 0, 1, 0), frame(WINDOW, 0, 1, credit))
  reply(peer)
  return { peer, stream: await opening }
}

test('an idle tunnel is pinged every 15 s and lives as long as it answers', () => {
  const peer = rawPeer()
  peer.turn()
  reply(peer)
  for (let i = 0; i < 20; i++) {
    peer.clock.advance(15_001)
    peer.turn()
    expect(pings(peer)).toHaveLength(1)
    reply(peer)
  }
  expect(peer.closed).toBeUndefined()
})

test('a peer that says nothing is dead after 40 s, not before', () => {
  const peer = rawPeer()
  peer.clock.advance(39_000)
  expect(peer.closed).toBeUndefined()
  peer.clock.advance(1_001)
  expect(peer.closed?.err?.code).toBe('ERR_TUNNEL_CLOSED')
})

test('a peer that talks but takes no bytes is dead after the write timeout', () => {
  const peer = rawPeer()
  peer.turn()
  reply(peer)
  peer.reading = false
  peer.session.goAway(0)
  peer.turn()
  for (let s = 0; s < 46 && !peer.closed; s++) {
    peer.clock.advance(1_000)
    peer.send(frame(0x80, 0, 0, 0))
  }
  expect(peer.closed?.err?.code).toBe('ERR_TUNNEL_CLOSED')
})

test('traffic without any answer makes the tunnel suspect after 1 s, an answer clears it', async () => {
  const { peer, stream } = await opened()
  peer.clock.advance(5_000)
  expect(peer.suspicions).toEqual([])
  stream.write(Buffer.from('hello?'))
  peer.turn()
  peer.clock.advance(999)
  expect(peer.suspicions).toEqual([])
  peer.clock.advance(2)
  expect(peer.suspicions).toEqual([true])
  peer.turn()
  reply(peer)
  expect(peer.suspicions).toEqual([true, false])
  expect(peer.closed).toBeUndefined()
})

test('who waits for the answer to an OPEN is told, also when the path breaks behind an answered probe', () => {
  const peer = rawPeer({ side: 'client' })
  const opening = peer.session.open(Buffer.alloc(0))
  opening.catch(() => undefined)
  peer.turn()
  reply(peer)
  // An agent that thinks: the tunnel lives, second by second.
  for (let s = 0; s < 5; s++) {
    peer.clock.advance(1_001)
    peer.turn()
    reply(peer)
  }
  expect(peer.suspicions).toEqual([])
  // The network goes away here.
  peer.clock.advance(2_002)
  expect(peer.suspicions).toEqual([true])
})

test('who only receives asks when data pauses, once, and silence then is suspect', async () => {
  const { peer, stream } = await opened()
  stream.start()
  peer.clock.advance(5_000)
  peer.turn()
  reply(peer)
  const data = (): void => peer.send(frame(DATA, 0, 1, 3), Buffer.from('abc'))
  // While it flows nobody asks.
  for (let i = 0; i < 30; i++) {
    data()
    peer.clock.advance(100)
    peer.turn()
  }
  expect(pings(peer)).toHaveLength(0)
  peer.clock.advance(500)
  peer.turn()
  expect(pings(peer)).toHaveLength(1)
  reply(peer)
  // A pause that is none of the path's.
  peer.clock.advance(10_000)
  peer.turn()
  expect(pings(peer)).toHaveLength(0)
  expect(peer.suspicions).toEqual([])
  data()
  // The network goes away here.
  peer.clock.advance(1_600)
  expect(peer.suspicions).toEqual([true])
})

test('a process that stood still asks again before it suspects anybody', async () => {
  const { peer, stream } = await opened()
  peer.clock.advance(5_000)
  stream.write(Buffer.from('one'))
  peer.turn()
  reply(peer)
  // Within the look that the first began: no probe goes with it.
  stream.write(Buffer.from('two'))
  peer.turn()
  peer.heard.length = 0
  // A machine that was asleep. Timers run before what came meanwhile is read.
  peer.clock.leap(19_000)
  expect(peer.suspicions).toEqual([])
  peer.turn()
  expect(pings(peer).length).toBeGreaterThan(0)
  // Nobody answers the one who is awake: a second later that is suspect.
  peer.clock.advance(999)
  expect(peer.suspicions).toEqual([])
  peer.clock.advance(2)
  expect(peer.suspicions).toEqual([true])
})

test('what is sent after an answer, within the same second, is watched as well', async () => {
  const { peer, stream } = await opened()
  peer.clock.advance(5_000)
  stream.write(Buffer.from('one'))
  peer.turn()
  peer.clock.advance(10)
  reply(peer)
  peer.clock.advance(10)
  // The network goes away here; the watch that the first write began was answered already.
  stream.write(Buffer.from('two'))
  peer.turn()
  peer.clock.advance(999)
  expect(peer.suspicions).toEqual([])
  peer.clock.advance(2)
  expect(peer.suspicions).toEqual([true])
})

test('traffic that never rests is watched at every moment: silence is seen a second after it begins', async () => {
  const { peer, stream } = await opened(1_000_000)
  const writes = (ms: number, answers: boolean): void => {
    for (let i = 0; i < ms / 10; i++) {
      stream.write(Buffer.from('on and on'))
      peer.turn()
      if (answers) reply(peer)
      peer.clock.advance(10)
    }
  }
  writes(5_050, true)
  expect(peer.suspicions).toEqual([])
  // The last answer may be a look old.
  writes(890, false)
  expect(peer.suspicions).toEqual([])
  peer.heard.length = 0
  writes(120, false)
  expect(peer.suspicions).toEqual([true])
  // Suspect once is enough, and nobody is asked again and again meanwhile.
  writes(3_000, false)
  expect(peer.suspicions).toEqual([true])
  expect(pings(peer).length).toBeLessThan(10)
})

test('an answer that was on its way when the path broke hides nothing, though nothing more is sent', async () => {
  const { peer, stream } = await opened()
  peer.clock.advance(5_000)
  stream.write(Buffer.from('one'))
  peer.turn()
  peer.clock.advance(10)
  stream.write(Buffer.from('two'))
  peer.turn()
  // All that still comes: the answer to the first probe, later than the last that was sent.
  peer.clock.advance(1)
  reply(peer)
  peer.clock.advance(2_000)
  expect(peer.suspicions).toEqual([true])
})

test('something heard is no answer to the probe: it is asked again, and silence then is suspect', async () => {
  const { peer, stream } = await opened()
  peer.clock.advance(5_000)
  stream.write(Buffer.from('one'))
  peer.turn()
  peer.send(frame(WINDOW, 0, 1, 1))
  peer.clock.advance(1_000)
  expect(peer.suspicions).toEqual([])
  peer.clock.advance(1_000)
  expect(peer.suspicions).toEqual([true])
})

test('answering pings does not start pings of our own: two idle ends do not chatter', () => {
  const peer = rawPeer()
  peer.turn()
  reply(peer)
  for (let i = 0; i < 10; i++) {
    peer.send(frame(PING, 0, 0, i))
    peer.turn()
    peer.clock.advance(1_100)
  }
  expect(pings(peer)).toHaveLength(0)
})

test('an OPEN that nobody answers is given up after 15 s, on both sides', async () => {
  const peer = rawPeer({ side: 'client' })
  const opening = peer.session.open(Buffer.alloc(0))
  peer.open(2)
  peer.turn()
  peer.heard.length = 0
  peer.clock.advance(15_000)
  await expect(opening).rejects.toMatchObject({ code: 'ERR_TIMEOUT' })
  peer.turn()
  expect(
    peer.heard.filter((f) => f.type === 'reset').map((f) => f.type === 'reset' && f.id),
  ).toEqual([1, 2])
  expect(peer.session.streams).toBe(0)
})

test('an aborted open withdraws the request and rejects with the reason', async () => {
  const peer = rawPeer({ side: 'client' })
  const stop = new AbortController()
  const opening = peer.session.open(Buffer.alloc(0), stop.signal)
  stop.abort(new Error('changed my mind'))
  await expect(opening).rejects.toThrow('changed my mind')
  peer.turn()
  expect(peer.heard.some((f) => f.type === 'reset')).toBe(true)
  expect(peer.session.streams).toBe(0)
})

test('a ping in flight rejects when the tunnel ends', async () => {
  const peer = rawPeer()
  const ping = peer.session.ping()
  peer.session.close()
  await expect(ping).rejects.toMatchObject({ code: 'ERR_TUNNEL_CLOSED' })
  await expect(peer.session.ping()).rejects.toMatchObject({ code: 'ERR_TUNNEL_CLOSED' })
})

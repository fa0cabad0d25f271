// A peer that breaks the rules is cut at once, costs a bounded amount of memory and harms nobody else.
import { describe, expect, test } from 'vitest'
import { frame, framed, rawPeer, type RawPeer } from '../../support/raw-peer.ts'
import {
  DATA,
  FIN,
  GOAWAY,
  OPEN,
  OPENED,
  PING,
  REPLY,
  RESET,
  WINDOW,
} from '../../../core/tunnel/frame.ts'

const accepted = (peer: RawPeer, id = 1): void => {
  peer.open(id)
  peer.offered.at(-1)?.accept()
  peer.turn()
}
const data = (id: number, n: number, flags = 0): Buffer =>
  Buffer.concat([frame(DATA, flags, id, n), Buffer.alloc(n)])

describe('the tunnel is cut with ERR_TUNNEL_PROTOCOL on', () => {
  test.each<[string, (peer: RawPeer) => void]>([
    ['another frame layout', (p) => p.send(Buffer.from('GET / HTTP/1.1\r\n'))],
    ['an unknown frame type', (p) => p.send(frame(7, 0, 1, 0))],
    ['an unknown flag', (p) => p.send(frame(DATA, 2, 1, 0))],
    ['a flag where none is allowed', (p) => p.send(frame(OPEN, 1, 1, 0))],
    ['a stream id on PING', (p) => p.send(frame(PING, 0, 1, 0))],
    ['stream 0', (p) => p.send(frame(OPEN, 0, 0, 0))],
    ['DATA of 4 GiB', (p) => p.send(frame(DATA, 0, 1, 0xffff_ffff))],
    ['DATA one byte above the limit', (p) => p.send(frame(DATA, 0, 1, 65_537))],
    ['an OPEN payload above the limit', (p) => p.send(frame(OPEN, 0, 1, 32_769))],
    ['a RESET payload above the limit', (p) => p.send(frame(RESET, 0, 1, 1025))],
    ['an optional frame above the limit', (p) => p.send(frame(0x80, 0, 0, 65_537))],
    ['a frame for a stream that was never opened', (p) => p.send(frame(WINDOW, 0, 3, 1))],
    ['a stream id of our side', (p) => p.open(2)],
    [
      'a stream id used twice',
      (p) => {
        p.open(5)
        p.open(5)
      },
    ],
    [
      'stream ids that go back',
      (p) => {
        p.open(5)
        p.open(3)
      },
    ],
    [
      'DATA before the answer',
      (p) => {
        p.open(1)
        p.send(data(1, 1))
      },
    ],
    [
      'DATA after FIN',
      (p) => {
        accepted(p)
        p.send(data(1, 1, FIN), data(1, 1))
      },
    ],
    [
      'OPENED for their own stream',
      (p) => {
        p.open(1)
        p.send(frame(OPENED, 0, 1, 0))
      },
    ],
    [
      'a window overrun',
      (p) => {
        accepted(p)
        for (let i = 0; i < 5; i++) p.send(data(1, 65_536))
      },
    ],
    [
      'credit beyond 32 bits',
      (p) => {
        accepted(p)
        p.send(frame(WINDOW, 0, 1, 0xffff_ffff), frame(WINDOW, 0, 1, 1))
      },
    ],
    ['an answer to a ping that was never sent', (p) => p.send(frame(PING, REPLY, 0, 77))],
  ])('%s', (_name, attack) => {
    const peer = rawPeer()
    attack(peer)
    expect(peer.closed?.err?.code).toBe('ERR_TUNNEL_PROTOCOL')
    // Nothing is acted on after the violation.
    peer.open(99)
    expect(peer.offered.some((s) => s.id === 99)).toBe(false)
  })
})

test('OPENED twice is a violation', async () => {
  const peer = rawPeer({ side: 'client' })
  const opening = peer.session.open(Buffer.alloc(0))
  peer.send(frame(OPENED, 0, 1, 0), frame(OPENED, 0, 1, 0))
  await opening
  expect(peer.closed?.err?.code).toBe('ERR_TUNNEL_PROTOCOL')
})

test('an unknown optional frame is skipped', () => {
  const peer = rawPeer()
  peer.send(frame(0xff, 0, 12, 3), Buffer.from('abc'), frame(PING, 0, 0, 9))
  peer.turn()
  expect(peer.closed).toBeUndefined()
  expect(peer.heard).toContainEqual({ type: 'ping', reply: true, token: 9 })
})

test('late frames of a stream that was reset are passed over in silence', () => {
  const peer = rawPeer()
  accepted(peer)
  peer.offered[0]?.reset()
  peer.send(data(1, 1000), frame(WINDOW, 0, 1, 5), data(1, 0, FIN), frame(RESET, 0, 1, 0))
  expect(peer.closed).toBeUndefined()
  expect(peer.session.streams).toBe(0)
})

// An attacker who opens streams and never finishes them.
test('half-open streams are capped, and refused above the cap without closing the tunnel', () => {
  const peer = rawPeer()
  for (let id = 1; id <= 3001; id += 2) peer.open(id)
  peer.turn()
  expect(peer.session.streams).toBe(1024)
  const refused = peer.heard.filter((f) => f.type === 'reset')
  expect(refused.length).toBe(1501 - 1024)
  expect(peer.closed).toBeUndefined()
})

test('open streams are capped', () => {
  const peer = rawPeer({ limits: { streamsPerTunnel: 10 } })
  for (let id = 1; id <= 41; id += 2) accepted(peer, id)
  expect(peer.session.streams).toBe(10)
})

// An attacker who asks for answers and does not read them.
test.each([
  ['pings', (i: number) => frame(PING, 0, 0, i)],
  ['refused opens', (i: number) => framed(OPEN, 2 * i + 1, '')],
])('a flood of %s whose answers are not read cuts the tunnel', (_name, make) => {
  const peer = rawPeer({ limits: { streamsPerTunnel: 0 } })
  peer.reading = false
  // A full transport: nothing more is handed over.
  accepted(peer)
  const filler = peer.session.ping()
  filler.catch(() => undefined)
  for (let i = 1; i < 20_000 && !peer.closed; i++) peer.send(make(i))
  expect(peer.closed?.err?.code).toBe('ERR_TUNNEL_PROTOCOL')
})

// One byte per frame: objects and pinned network buffers cost far more than the bytes.
test('a window full of one-byte frames that nobody reads costs little more than a window', () => {
  const peer = rawPeer()
  accepted(peer)
  const stream = peer.offered[0]
  let pieces = 0
  if (stream) stream.ondata = () => void pieces++
  stream?.start()
  const one = data(1, 1)
  const many = Buffer.concat(Array.from({ length: 4096 }, () => one))
  for (let i = 0; i < 64; i++) peer.send(many)
  expect(stream?.bytesIn).toBe(262_144)
  expect(pieces).toBeLessThan(2000)
  expect(peer.closed).toBeUndefined()
  // Once the owner reads, the rest arrives, joined.
  let got = 0
  if (stream) stream.ondata = (b) => void (got += b.length)
  stream?.consumed(pieces)
  expect(got).toBe(262_144 - pieces)
})

test('a kept piece does not pin the network buffer it came in', () => {
  const peer = rawPeer()
  accepted(peer)
  const kept: Buffer[] = []
  const stream = peer.offered[0]
  if (stream) stream.ondata = (b) => void kept.push(b)
  stream?.start()
  peer.send(data(1, 100), frame(0x80, 0, 0, 60_000), Buffer.alloc(60_000))
  expect(kept[0]?.length).toBe(100)
  expect(kept[0]?.buffer.byteLength).toBeLessThan(10_000)
})

test('a callback of ours that throws ends its stream alone', () => {
  const peer = rawPeer()
  accepted(peer, 1)
  accepted(peer, 3)
  const [bad, good] = peer.offered
  const got: Buffer[] = []
  if (bad)
    bad.ondata = () => {
      throw new Error('bug')
    }
  if (good) good.ondata = (b) => void got.push(b)
  bad?.start()
  good?.start()
  peer.send(data(1, 10), data(3, 10))
  expect(bad?.state).toBe('closed')
  expect(got.length).toBe(1)
  expect(peer.closed).toBeUndefined()
  expect(peer.callbackErrors).toHaveLength(1)
})

test('a handler that throws refuses the stream and nothing else', () => {
  const peer = rawPeer({
    handlers: {
      onOpen: () => {
        throw new Error('bug')
      },
    },
  })
  peer.open(1)
  peer.turn()
  expect(peer.heard.some((f) => f.type === 'reset')).toBe(true)
  expect(peer.closed).toBeUndefined()
  expect(peer.session.streams).toBe(0)
})

test('a reason sent by the peer cannot write escape sequences to a terminal', async () => {
  const peer = rawPeer({ side: 'client' })
  const opening = peer.session.open(Buffer.alloc(0))
  peer.send(framed(RESET, 1, 'ERR_ACCESS_DENIED\0\u001b[31mred\u202e\u009b'))
  await expect(opening).rejects.toMatchObject({ code: 'ERR_ACCESS_DENIED', message: ' [31mred  ' })
})

test('an unknown code of the peer is a plain reset', async () => {
  const peer = rawPeer({ side: 'client' })
  const opening = peer.session.open(Buffer.alloc(0))
  peer.send(framed(RESET, 1, 'constructor\0x'))
  await expect(opening).rejects.toMatchObject({ code: 'ERR_STREAM_RESET' })
})

test('after GOAWAY the peer opens nothing here, and what is open goes on', async () => {
  const told: number[] = []
  const peer = rawPeer({ handlers: { onGoAway: (ms) => void told.push(ms) } })
  accepted(peer)
  peer.session.goAway(1500)
  peer.open(3)
  peer.turn()
  expect(peer.heard).toContainEqual({ type: 'goaway', comeBackMs: 1500 })
  expect(peer.heard.filter((f) => f.type === 'reset' && f.id === 3)).toHaveLength(1)
  expect(peer.offered[0]?.state).toBe('open')
  peer.send(frame(GOAWAY, 0, 0, 250))
  expect(told).toEqual([250])
  await expect(peer.session.open(Buffer.alloc(0))).rejects.toMatchObject({
    code: 'ERR_TUNNEL_CLOSED',
  })
})

// An attacker who asks and takes back, so that nothing of his waits and all of our work does.
test('CVE-2023-44487 (HTTP/2): streams that are opened and reset at once count until the work on them is done', async () => {
  let asked = 0
  let finish: () => void = () => undefined
  const work = new Promise<void>((resolve) => (finish = resolve))
  const peer = rawPeer({
    handlers: {
      onOpen: () => {
        asked += 1
        return work
      },
    },
  })
  const churn = (from: number, to: number): void => {
    for (let id = from; id <= to; id += 2) peer.send(framed(OPEN, id, ''), frame(RESET, 0, id, 0))
    peer.turn()
  }
  churn(1, 4001)
  expect(asked).toBe(1024)
  expect(peer.session.streams).toBe(0)
  expect(peer.heard.filter((f) => f.type === 'reset')).toHaveLength(2001 - 1024)
  finish()
  await work
  churn(4003, 4003)
  expect(asked).toBe(1025)
  expect(peer.closed).toBeUndefined()
})

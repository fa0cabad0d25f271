// A stream over legs that break: every byte once and in order, the ends as they were meant, and bounded memory.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { LIMITS } from '../../../core/limits.ts'
import { ResumableStream } from '../../../core/tunnel/resume.ts'
import { ackRecord, dataHeader, finRecord } from '../../../core/tunnel/resume-codec.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { collect, echo } from '../../support/streams.ts'
import { memoryPair } from '../../support/transports.ts'
import { twoSessions, type TwoSessions } from '../../contract/stream/stream-contract.ts'

let clock: HandClock
let two: TwoSessions
let here: ResumableStream
let there: ResumableStream
let broken: string[]
let settled: boolean[]

const budget = (): ReturnType<typeof createWindowBudget> => createWindowBudget(64 * 1024 * 1024)

async function leg(): Promise<[TunnelStream, TunnelStream]> {
  const opening = two.client.open(Buffer.from('leg'))
  const offered = await two.next()
  offered.accept()
  return [await opening, offered]
}
/** As both ends do it after their handshake: each says what it expects, then goes on. */
async function join(): Promise<[TunnelStream, TunnelStream]> {
  const [a, b] = await leg()
  const [hereNext, thereNext] = [here.next, there.next]
  here.attach(a, { peerNext: thereNext })
  there.attach(b, { peerNext: hereNext })
  return [a, b]
}
const over = (stream: TunnelStream): Promise<string | undefined> =>
  new Promise((resolve) => (stream.onclose = (err) => resolve(err?.code)))
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

beforeEach(() => {
  clock = handClock()
  two = twoSessions(memoryPair())
  broken = []
  settled = []
  here = new ResumableStream({
    clock,
    budget: budget(),
    onbroken: (e) => broken.push(e?.code ?? ''),
  })
  there = new ResumableStream({
    clock,
    budget: budget(),
    onsettled: (clean) => settled.push(clean),
  })
})
afterEach(() => {
  two.client.close()
  two.server.close()
})

/** Different everywhere, so that a piece that is lost, doubled or moved shows. */
function pattern(bytes: number): Buffer {
  const out = Buffer.alloc(bytes)
  for (let i = 0; i + 4 <= bytes; i += 4) out.writeUInt32LE((i * 2654435761) >>> 0, i)
  return out
}

async function pour(stream: TunnelStream, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; at += 30_011) {
    if (stream.write(bytes.subarray(at, at + 30_011))) continue
    await new Promise<void>((resolve) => (stream.ondrain = resolve))
  }
  stream.end()
}

test('without a break it is a stream like any other, half-close included', async () => {
  await join()
  const heard = collect(there)
  here.write(Buffer.from('question'))
  here.end()
  expect((await heard).toString()).toBe('question')
  const answer = collect(here)
  const done = [over(here), over(there)]
  there.write(Buffer.from('answer after their end'))
  there.end()
  expect((await answer).toString()).toBe('answer after their end')
  expect(await Promise.all(done)).toEqual([undefined, undefined])
  await two.client.ping()
  await two.server.ping()
  expect(settled).toEqual([true])
  expect([two.client.streams, two.server.streams]).toEqual([0, 0])
})

test('twenty breaks in 20 MB each way: every byte once and in order', async () => {
  let [current] = await join()
  const sent = pattern(20_000_000)
  echo(there)
  const answer = collect(here)
  const pouring = pour(here, sent)
  for (let i = 0; i < 20; i++) {
    // Counted from the beginning: what passes beyond one break must not leave the last of them nothing to wait for.
    const target = (i + 1) * 700_000
    while (here.bytesIn < target) await turn()
    // What the tunnel's end, or a proxy whose other tunnel ended, makes of a stream.
    current.reset('ERR_TUNNEL_CLOSED')
    await turn()
    ;[current] = await join()
  }
  await pouring
  expect((await answer).equals(sent)).toBe(true)
})

test('a new leg beside one that still works takes over, and what comes twice counts once', async () => {
  await join()
  const sent = pattern(3_000_000)
  const heard = collect(there)
  const pouring = pour(here, sent)
  while (there.bytesIn < 500_000) await turn()
  const [a, b] = await leg()
  // What it expects was said before more came on the old leg.
  const said = there.next
  while (there.next === said) await turn()
  here.attach(a, { peerNext: said })
  there.attach(b, { peerNext: here.next })
  await pouring
  expect((await heard).equals(sent)).toBe(true)
})

test('the end that was sent into a break arrives all the same, once', async () => {
  const [a] = await join()
  const heard = collect(there)
  let ends = 0
  const onend = there.onend
  there.onend = () => {
    ends += 1
    onend?.()
  }
  a.reset('ERR_TUNNEL_CLOSED')
  here.write(Buffer.from('last words'))
  here.end()
  await join()
  expect((await heard).toString()).toBe('last words')
  const [c] = await join()
  c.reset('ERR_TUNNEL_CLOSED')
  await turn()
  await join()
  await two.client.ping()
  expect(ends).toBe(1)
})

test('two ends that both write and do not read do not wait for each other for ever', async () => {
  await join()
  const sent = pattern(9_000_000)
  const both = [pour(here, sent), pour(there, sent)]
  for (let i = 0; i < 200; i++) await turn()
  const [a, b] = await Promise.all([collect(there), collect(here)])
  await Promise.all(both)
  expect([a.equals(sent), b.equals(sent)]).toEqual([true, true])
})

test('a reader that stalls is sent no more than its window, over any number of legs', async () => {
  let [current] = await join()
  there.ondata = () => undefined
  there.start()
  while (here.write(Buffer.alloc(65_536)));
  for (let i = 0; i < 5; i++) {
    for (let n = 0; n < 50; n++) await turn()
    current.reset('ERR_TUNNEL_CLOSED')
    await turn()
    ;[current] = await join()
  }
  expect(there.bytesIn).toBeLessThanOrEqual(LIMITS.windowInitial.value)
})

test('a reset by the other end is its last word, and no broken leg', async () => {
  await join()
  here.start()
  const end = over(here)
  there.reset('ERR_LOCKED', 'a lock is in force')
  expect(await end).toBe('ERR_LOCKED')
  expect(broken).toEqual([])
})

test('an end that resets as if a tunnel had closed is over too', async () => {
  await join()
  here.start()
  const end = over(here)
  there.reset('ERR_TUNNEL_CLOSED')
  expect(await end).toBe('ERR_STREAM_RESET')
})

test('a stream that nobody resumes ends after its window, not before', async () => {
  const [a] = await join()
  here.start()
  let ended: string | undefined
  here.onclose = (err) => (ended = err?.code)
  a.reset('ERR_TUNNEL_CLOSED')
  await turn()
  expect(broken).toEqual(['ERR_TUNNEL_CLOSED'])
  clock.advance(LIMITS.resumeWindow.value - 1)
  expect(ended).toBeUndefined()
  clock.advance(1)
  expect(ended).toBe('ERR_TUNNEL_CLOSED')
})

// A peer may break every rule; the stream is the price, and nothing else.
test.each<[string, () => Buffer]>([
  ['more than its window', () => Buffer.concat([dataHeader(400_000), Buffer.alloc(400_000)])],
  ['acknowledges what was never sent', () => ackRecord(1, 0)],
  ['ends twice', () => Buffer.concat([finRecord(), finRecord()])],
  ['sends after its end', () => Buffer.concat([finRecord(), dataHeader(1), Buffer.alloc(1)])],
  ['sends what is no record', () => Buffer.from('ffffffff', 'hex')],
])('a peer that %s loses the stream and not the tunnel', async (_what, bytes) => {
  const [a, b] = await leg()
  here.attach(a, { peerNext: 0 })
  here.start()
  const end = over(here)
  b.start()
  b.write(bytes())
  expect(await end).toBe('ERR_TUNNEL_PROTOCOL')
  expect(await two.client.ping()).toBeGreaterThanOrEqual(0)
})

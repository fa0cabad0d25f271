// Joined pipes behave as one: bytes, half-close, reset with its reason, and a stall at the far end all pass through.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { finished, pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { AppError } from '../../../core/errors.ts'
import { toDuplex } from '../../../core/tunnel/duplex.ts'
import { relayStream, spliceSocket } from '../../../core/tunnel/splice.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { twoSessions, type TwoSessions } from '../../contract/stream/stream-contract.ts'
import { memoryPair } from '../../support/transports.ts'
import { collect, echo, send } from '../../support/streams.ts'

const closing = (stream: TunnelStream) =>
  new Promise<AppError | undefined>((resolve) => (stream.onclose = resolve))

describe('a stream relayed from one tunnel to another', () => {
  let user: TwoSessions
  let agent: TwoSessions
  beforeEach(() => {
    user = twoSessions(memoryPair())
    agent = twoSessions(memoryPair())
  })
  afterEach(() => {
    for (const t of [user, agent]) t.client.close()
  })
  const through = async (): Promise<[TunnelStream, TunnelStream]> => {
    const opening = user.client.open(Buffer.from('ask'))
    const relayed = relayStream(await user.next(), agent.client, Buffer.from('asked on'))
    const far = await agent.next()
    far.accept(Buffer.from('yes'))
    await relayed
    return [await opening, far]
  }

  test('passes the question on, the answer back, and bytes both ways', async () => {
    const [near, far] = await through()
    expect(far.payload.toString()).toBe('asked on')
    expect(near.payload.toString()).toBe('yes')
    echo(far)
    const answer = collect(near)
    send(near, Buffer.alloc(1_000_000, 5))
    near.end()
    expect((await answer).equals(Buffer.alloc(1_000_000, 5))).toBe(true)
  })

  test('passes a refusal back with its code and message', async () => {
    const opening = user.client.open(Buffer.from('ask'))
    const relayed = relayStream(await user.next(), agent.client, Buffer.from('on'))
    relayed.catch(() => undefined)
    ;(await agent.next()).refuse('ERR_ACCESS_DENIED', 'not yours')
    await expect(opening).rejects.toMatchObject({ code: 'ERR_ACCESS_DENIED', message: 'not yours' })
    await expect(relayed).rejects.toMatchObject({ code: 'ERR_ACCESS_DENIED' })
  })

  test('passes a reset on in both directions', async () => {
    for (const side of [0, 1]) {
      const pair = await through()
      const [one, other] = side === 0 ? pair : [pair[1], pair[0]]
      const over = closing(other)
      other.start()
      one.start()
      one.reset('ERR_LOCKED', 'a lock is in force')
      expect(await over).toMatchObject({ code: 'ERR_LOCKED', message: 'a lock is in force' })
    }
    await user.client.ping()
    await agent.client.ping()
    expect([user.client, user.server, agent.client, agent.server].map((s) => s.streams)).toEqual([
      0, 0, 0, 0,
    ])
  })

  test('passes on why a side was over before it was joined: a broken leg is no reset by the other end', async () => {
    const opening = user.client.open(Buffer.from('ask'))
    const relayed = relayStream(await user.next(), agent.client, Buffer.from('on'))
    const far = await agent.next()
    // One message: the stream is over before its opener has seen the answer.
    far.accept()
    far.reset('ERR_TUNNEL_CLOSED', 'its tunnel broke')
    await relayed
    const near = await opening
    if (near.state === 'open') await closing(near)
    expect(near.error).toMatchObject({ code: 'ERR_TUNNEL_CLOSED', message: 'its tunnel broke' })
  })

  test('passes each half-close on by itself', async () => {
    const [near, far] = await through()
    const heard = collect(far)
    near.start()
    near.end()
    expect((await heard).length).toBe(0)
    const answer = collect(near)
    send(far, Buffer.from('still open'))
    far.end()
    expect((await answer).toString()).toBe('still open')
  })

  test('stalls the sender when the far reader stalls, holding a window for each leg and no more', async () => {
    const [near, far] = await through()
    far.ondata = () => undefined
    far.start()
    near.start()
    let sent = 0
    let drained: () => void = () => undefined
    near.ondrain = () => drained()
    for (let i = 0; i < 200; i++) {
      if (near.write(Buffer.alloc(32_768))) continue
      sent = near.bytesOut
      const room = new Promise<'room'>((resolve) => (drained = () => resolve('room')))
      const answer = await Promise.race([room, user.client.ping().then(() => agent.client.ping())])
      if (answer !== 'room') break
    }
    expect(sent).toBeLessThan(1_500_000)
  })

  test('withdraws the request when the asker is gone before the answer', async () => {
    const stop = new AbortController()
    const opening = user.client.open(Buffer.from('ask'), stop.signal)
    opening.catch(() => undefined)
    const relayed = relayStream(await user.next(), agent.client, Buffer.from('on'))
    relayed.catch(() => undefined)
    const far = await agent.next()
    const over = closing(far)
    stop.abort(new Error('gone'))
    expect(await over).toBeDefined()
    await expect(relayed).rejects.toBeDefined()
    expect(agent.client.streams).toBe(0)
  })
})

describe('a stream joined to a socket', () => {
  let two: TwoSessions
  let listener: Server
  beforeEach(async () => {
    two = twoSessions(memoryPair())
    listener = createServer({ allowHalfOpen: true })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
  })
  afterEach(() => {
    two.client.close()
    listener.close()
  })
  const joined = async (): Promise<{ near: TunnelStream; target: Socket }> => {
    const opening = two.client.open(Buffer.alloc(0))
    const offered = await two.next()
    const port = (listener.address() as AddressInfo).port
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const [target] = (await once(listener, 'connection')) as [Socket]
    offered.accept()
    spliceSocket(offered, socket)
    return { near: await opening, target }
  }

  test('carries 20 MB each way unchanged, with both half-closes', async () => {
    const { near, target } = await joined()
    target.pipe(target)
    const block = Buffer.alloc(1_000_000, 9)
    const answer = collect(near)
    for (let i = 0; i < 20; i++)
      if (!near.write(block)) await new Promise<void>((resolve) => (near.ondrain = resolve))
    near.end()
    const got = await answer
    expect(got.length).toBe(20_000_000)
    expect(got.every((b) => b === 9)).toBe(true)
  })

  test('a socket that is cut resets the stream', async () => {
    const { near, target } = await joined()
    const over = closing(near)
    near.start()
    target.resetAndDestroy()
    expect(await over).toMatchObject({ code: 'ERR_STREAM_RESET' })
  })

  test('a reset of the stream resets the connection, so that nobody takes it for the end', async () => {
    const { near, target } = await joined()
    near.start()
    // RST, not an end: what the target has is not everything.
    const cut = once(target, 'error')
    target.resume()
    near.reset()
    expect(((await cut) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET')
  })

  test('a target that does not read stalls the stream', async () => {
    const { near, target } = await joined()
    target.pause()
    near.start()
    for (let i = 0; i < 1000 && near.write(Buffer.alloc(65_536)); i++);
    let drains = 0
    near.ondrain = () => {
      drains++
      for (let i = 0; i < 1000 && near.write(Buffer.alloc(65_536)); i++);
    }
    for (let i = 0; i < 50; i++) await two.client.ping()
    // The kernel's buffers on loopback take some MB; after that nothing moves.
    expect(near.bytesOut).toBeLessThan(40_000_000)
    expect(drains).toBeLessThan(600)
    target.destroy()
  })
})

describe('a stream as a Duplex', () => {
  let two: TwoSessions
  beforeEach(() => {
    two = twoSessions(memoryPair())
  })
  afterEach(() => two.client.close())
  const pairOfDuplexes = async () => {
    const opening = two.client.open(Buffer.alloc(0))
    const offered = await two.next()
    offered.accept()
    const duplexes = [toDuplex(await opening), toDuplex(offered)] as const
    for (const d of duplexes) d.on('error', () => undefined)
    return duplexes
  }

  test('pipes 5 MB through and back with end of each direction', async () => {
    const [here, there] = await pairOfDuplexes()
    there.pipe(there)
    const sent = Buffer.alloc(5_000_000, 1)
    const parts: Buffer[] = []
    here.on('data', (b: Buffer) => parts.push(b))
    const ended = once(here, 'end')
    await pipeline(Readable.from([sent.subarray(0, 3), sent.subarray(3)]), here)
    await ended
    expect(Buffer.concat(parts).equals(sent)).toBe(true)
  })

  // As with a TCP socket: what was finished before destroy() arrives.
  test('finish means that everything went out', async () => {
    const [here, there] = await pairOfDuplexes()
    const sent = Buffer.alloc(3_000_000, 2)
    const got: Buffer[] = []
    there.on('data', (b: Buffer) => got.push(b))
    const ended = once(there, 'end')
    here.resume()
    here.end(sent)
    await once(here, 'finish')
    there.end()
    await ended
    expect(Buffer.concat(got).equals(sent)).toBe(true)
  })

  test('destroy with an error resets the stream, and the other end sees an error', async () => {
    const [here, there] = await pairOfDuplexes()
    const over = finished(there).catch((e: unknown) => e)
    here.destroy(new Error('private detail'))
    const err = await over
    expect(err).toMatchObject({ code: 'ERR_INTERNAL' })
    expect(String(err)).not.toContain('private detail')
  })

  test('a reader that stops reading stalls the writer', async () => {
    const [here, there] = await pairOfDuplexes()
    there.pause()
    let written = 0
    for (let i = 0; i < 100; i++) {
      written += 65_536
      if (here.write(Buffer.alloc(65_536))) continue
      const room = once(here, 'drain').then(() => 'room')
      if ((await Promise.race([room, two.client.ping()])) !== 'room') break
    }
    expect(written).toBeLessThan(2_000_000)
  })
})

// Reconnect bugs that another system shipped, each under its number there: what they describe does not happen here.
import { once } from 'node:events'
import type { Server } from 'node:https'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SUBPROTOCOL } from '../../../core/tunnel/version.ts'
import { keepConnected, type ConnectionState } from '../../../net/reconnect.ts'
import { connectTunnel } from '../../../net/tunnel-client.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { offers } from '../../support/streams.ts'
import { clientOf, cluster, frontDoor, type FrontDoor } from '../../support/tunnel-server.ts'

const random = { bytes: (n: number) => Buffer.alloc(n, 7), float: () => 0.5 }
type Is<S> = Extract<ConnectionState, { state: S }>

let clock: HandClock
let door: FrontDoor
let stop: AbortController
let over: Promise<void>
let until: <S extends ConnectionState['state']>(state: S) => Promise<Is<S>>
/** Subprotocols that upgrades asked for; requests that were none. */
let asked: (string | undefined)[]
let plain: number

type Listener = Parameters<Server['on']>[1]
/** Takes the door's answer to an upgrade away, and gives it back. */
function mute(server: Server): () => void {
  const listeners = server.listeners('upgrade') as Listener[]
  server.removeAllListeners('upgrade')
  return () => {
    server.removeAllListeners('upgrade')
    for (const one of listeners) server.on('upgrade', one)
  }
}

beforeEach(async () => {
  clock = handClock(Date.now())
  const of = await cluster()
  door = await frontDoor(of, {}, clock)
  asked = []
  plain = 0
  door.server.on('upgrade', ({ headers }) => asked.push(headers['sec-websocket-protocol']))
  door.server.on('request', () => (plain += 1))
  stop = new AbortController()
  const news = offers<ConnectionState>()
  until = async (state) => {
    for (;;) {
      const next = await news.next()
      if (next.state === state) return next as Is<typeof state>
    }
  }
  over = keepConnected({
    clock,
    random,
    signal: stop.signal,
    onState: (state) => news.push(state),
    connect: (signal, hooks) => connectTunnel({ ...clientOf(of, door), clock, signal, ...hooks }),
  })
})
afterEach(async () => {
  stop.abort()
  await over
  await door.close()
})
/** Lets the pause that was announced pass. */
async function passed(pause: Is<'waiting'>): Promise<void> {
  // The pause begins in the turn after it was told.
  await new Promise((resolve) => setImmediate(resolve))
  clock.advance(pause.retryIn)
}

test('39184: an interrupted WebSocket is followed by another WebSocket, again and again', async () => {
  for (let life = 1; life <= 3; life++) {
    const { tunnel } = await until('connected')
    expect(await tunnel.session.ping()).toBeGreaterThanOrEqual(0)
    expect(asked).toEqual(Array<string>(life).fill(SUBPROTOCOL))
    for (const link of door.sockets) link.terminate()
    const waiting = await until('waiting')
    expect(waiting.error?.code).toBe('ERR_TUNNEL_CLOSED')
    await passed(waiting)
  }
  await until('connected')
  expect(plain).toBe(0)
})

test('47825: an upgrade that is never answered ends by its deadline, and is tried again', async () => {
  await until('connected')
  const answer = mute(door.server)
  for (const link of door.sockets) link.terminate()
  let arrived = once(door.server, 'upgrade')
  await passed(await until('waiting'))
  for (let attempt = 0; attempt < 2; attempt++) {
    const [, socket] = (await arrived) as [unknown, { destroy(): void; once: unknown }]
    arrived = once(door.server, 'upgrade')
    clock.advance(10_000)
    const waiting = await until('waiting')
    expect(waiting.error).toMatchObject({ code: 'ERR_TIMEOUT' })
    // What was given up is closed: the other end must learn it.
    await once(socket as never, 'close')
    if (attempt === 1) answer()
    await passed(waiting)
  }
  const { tunnel } = await until('connected')
  expect(await tunnel.session.ping()).toBeGreaterThanOrEqual(0)
})

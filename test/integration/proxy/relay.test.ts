// A user's stream reaches the agent that the route names, or is refused with the reason; nothing in between can bend it.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { decodeOpen } from '../../../core/tunnel/open.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import type { AgentId } from '../../../core/ids.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { failure } from '../../support/pki.ts'
import { proxyWorld, type World } from '../../support/proxy-world.ts'
import { collect, echo, sink } from '../../support/streams.ts'
import { createHash, randomBytes } from 'node:crypto'

let clock: HandClock
let world: World
beforeEach(async () => {
  clock = handClock()
  world = await proxyWorld({ clock })
})
afterEach(() => world.close())

/** Policy streams are swallowed as an agent would; everything else goes to `serve`. */
const agentOnOpen =
  (serve: (stream: TunnelStream, payload: Buffer) => void) =>
  (stream: TunnelStream, payload: Buffer): void => {
    if (decodeOpen(payload).kind !== 'policy') return serve(stream, payload)
    stream.accept()
    void collect(stream).then(() => stream.end())
  }

async function agent(
  serve: (stream: TunnelStream, payload: Buffer) => void,
  id: AgentId = world.agentId(),
) {
  const tunnel = await world.dial({
    leaf: await world.agentLeaf(id),
    onOpen: agentOnOpen(serve),
  })
  return { id, tunnel }
}
async function user(name = 'alice') {
  const leaf = await world.userLeaf(name)
  return { leaf, tunnel: await world.dial({ leaf, purpose: 'user' }) }
}
const echoing = (stream: TunnelStream): void => {
  stream.accept(Buffer.from('hello'))
  echo(stream)
}

test('bytes, the answer and both half-closes pass through unchanged', async () => {
  const { id } = await agent(echoing)
  const stream = await world.open(await user(), [id])
  expect(stream.payload.toString()).toBe('hello')
  const bytes = randomBytes(3 * 1024 * 1024)
  const back = sink(stream, bytes.length)
  stream.write(bytes)
  stream.end()
  expect(await back).toBe(createHash('sha256').update(bytes).digest('hex'))
  expect(world.proxy.stats().streamsRelayed).toBe(1)
})

test('the agent may go on sending after the user has ended its side', async () => {
  const { id } = await agent((stream) => {
    stream.accept()
    stream.onend = () => {
      stream.write(Buffer.from('after your end'))
      stream.end()
    }
    stream.start()
  })
  const stream = await world.open(await user(), [id])
  const all = collect(stream)
  stream.end()
  expect((await all).toString()).toBe('after your end')
})

test('a refusal keeps its code and its words', async () => {
  const { id } = await agent((stream) => stream.refuse('ERR_ACCESS_DENIED', 'not for you'))
  await expect(world.open(await user(), [id])).rejects.toMatchObject({
    code: 'ERR_ACCESS_DENIED',
    message: 'not for you',
  })
})

test('a reset keeps its code and its words, both ways', async () => {
  const atAgent: { stream?: TunnelStream } = {}
  const { id } = await agent((stream) => {
    atAgent.stream = stream
    stream.accept()
    stream.start()
  })
  const caller = await user()
  const first = await world.open(caller, [id])
  const seen = new Promise((resolve) => (first.onclose = resolve))
  first.start()
  atAgent.stream?.reset('ERR_UPSTREAM_UNREACHABLE', 'ECONNREFUSED')
  expect(await seen).toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE', message: 'ECONNREFUSED' })

  const second = await world.open(caller, [id])
  const there = new Promise((resolve) => {
    if (atAgent.stream) atAgent.stream.onclose = resolve
  })
  second.reset('ERR_TIMEOUT', 'too slow for me')
  expect(await there).toMatchObject({ code: 'ERR_TIMEOUT', message: 'too slow for me' })
})

test('the address the user came from reaches the agent, and a user cannot claim another', async () => {
  const payloads: Buffer[] = []
  const { id } = await agent((stream, payload) => {
    payloads.push(payload)
    stream.refuse('ERR_ACCESS_DENIED')
  })
  await failure(async () => world.open(await user(), [id]))
  const open = decodeOpen(payloads[0] ?? Buffer.alloc(0))
  expect(open).toMatchObject({ kind: 'ssh', peer: { ip: '127.0.0.1' } })
})

test('a resource whose agents are not connected is offline', async () => {
  expect(await failure(async () => world.open(await user(), [world.agentId()]))).toMatchObject({
    code: 'ERR_RESOURCE_OFFLINE',
  })
})

test('a stream goes to the agents of the route only, and to each of them sometimes', async () => {
  const served = new Map<AgentId, number>()
  const agents = await Promise.all(
    [1, 2, 3].map(async () => {
      const id = world.agentId()
      return agent((stream) => {
        served.set(id, (served.get(id) ?? 0) + 1)
        stream.refuse('ERR_ACCESS_DENIED')
      }, id)
    }),
  )
  const [a, b, c] = agents.map((x) => x.id)
  if (!a || !b || !c) throw new Error('three agents')
  const caller = await user()
  for (let i = 0; i < 40; i++) await failure(() => world.open(caller, [a, b]))
  expect(served.get(a)).toBeGreaterThan(0)
  expect(served.get(b)).toBeGreaterThan(0)
  expect(served.get(c)).toBeUndefined()
})

test.each<[string, (id: AgentId) => Promise<string>]>([
  ['expired', (id) => world.route([id], { iat: 1_000, exp: 1_300 })],
  ['for another cluster', (id) => world.route([id], { aud: 'other' })],
  ['longer than routes live', (id) => world.route([id], { exp: 4_102_444_800 })],
  ['for another service', (id) => world.route([id], { service: 'app' })],
  ['from the future', (id) => world.route([id], { iat: 4_102_444_000, exp: 4_102_444_300 })],
  ['not a route at all', async () => 'a.b.c'],
  ['naming something that is no agent', () => world.route(['px_x' as AgentId])],
])('a route that is %s leads nowhere', async (_, make) => {
  const { id } = await agent(echoing)
  const refused = await failure(async () => world.open(await user(), [id], await make(id)))
  expect(refused?.code).toBe('ERR_ROUTE_INVALID')
  expect(world.proxy.stats().streamsRefused).toBe(1)
})

test('a route signed by anybody else leads nowhere', async () => {
  const { id } = await agent(echoing)
  const other = await proxyWorld({ clock, start: false })
  const route = await other.route([id])
  await other.close()
  expect(await failure(async () => world.open(await user(), [id], route))).toMatchObject({
    code: 'ERR_ROUTE_INVALID',
  })
})

test.each([
  ['no JSON', Buffer.from('{{{')],
  ['an unknown field', Buffer.from('{"v":1,"kind":"ssh","route":"a","offer":"b","x":1}')],
  ['a policy stream', Buffer.from('{"v":1,"kind":"policy"}')],
  ['nothing', Buffer.alloc(0)],
])('an OPEN with %s is refused and the tunnel lives', async (_, payload) => {
  const caller = await user()
  expect(await failure(() => caller.tunnel.session.open(payload))).toMatchObject({
    code: 'ERR_INPUT_INVALID',
  })
  await expect(caller.tunnel.session.ping()).resolves.toBeGreaterThanOrEqual(0)
})

test('agents cannot open streams', async () => {
  const { tunnel } = await agent(echoing)
  expect(await failure(() => tunnel.session.open(Buffer.from('x')))).toMatchObject({
    code: 'ERR_TUNNEL_PROTOCOL',
  })
})

test('a user that leaves while the agent thinks leaves nothing behind at the agent', async () => {
  const offered: { resolve?: (s: TunnelStream) => void } = {}
  const asked = new Promise<TunnelStream>((resolve) => (offered.resolve = resolve))
  const { id } = await agent((stream) => offered.resolve?.(stream))
  const caller = await user()
  const opening = failure(() => world.open(caller, [id]))
  const stream = await asked
  const over = new Promise((resolve) => (stream.onclose = resolve))
  caller.tunnel.session.close()
  await over
  expect((await opening)?.code).toBe('ERR_TUNNEL_CLOSED')
})

test('one user that stops reading stalls its own stream and nobody else', async () => {
  const { id } = await agent((stream) => {
    stream.accept()
    stream.ondata = (bytes) => stream.consumed(bytes.length)
    const fill = (): void => {
      while (stream.state === 'open' && stream.write(Buffer.alloc(65_536)));
    }
    stream.ondrain = fill
    stream.onend = () => stream.end()
    stream.start()
    fill()
  })
  const { id: other } = await agent(echoing)
  const caller = await user()
  const stalled = await world.open(caller, [id])
  let got = 0
  await new Promise<void>((resolve) => {
    stalled.ondata = (bytes) => {
      got += bytes.length
      if (got >= 256 * 1024) resolve()
    }
    stalled.start()
  })
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 8; i++) {
    const stream = await world.open(caller, [other])
    const back = sink(stream, 1_000_000)
    stream.write(Buffer.alloc(1_000_000, i))
    stream.end()
    await back
  }
  expect(got).toBeLessThan(1024 * 1024)
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
})

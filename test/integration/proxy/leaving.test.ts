// A proxy that drains, and an agent that leaves it: nobody is out of reach in between, and what can move is told when it can.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { proxyUri } from '../../../core/certs/identity.ts'
import { newId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { decodeOpen } from '../../../core/tunnel/open.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { memoryPresence } from '../../fakes/presence.ts'
import { CLUSTER, failure } from '../../support/pki.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { proxyWorld, type World } from '../../support/proxy-world.ts'
import { collect, echo } from '../../support/streams.ts'

let clock: HandClock
let world: World
beforeEach(async () => {
  clock = handClock()
  // Another one is there to go to: alone, a proxy waits for streams only.
  const presence = memoryPresence()
  await presence.renewLease({
    ...{ proxyId: newId('proxy', clock.now(), systemRandom), bootId: 'other', tunnels: 0 },
    ...{ address: '127.0.0.1:1', expires: plus(clock.now(), 3_600_000) },
  })
  world = await proxyWorld({ clock, presence })
})
afterEach(() => world.close())

/** An agent that answers with `answer`: with its half of the key when it can resume, without a word when it cannot. */
async function agent(answer: string) {
  const id = world.agentId()
  const told: { away?: () => void } = {}
  const away = new Promise<void>((resolve) => (told.away = resolve))
  const tunnel = await world.dial({
    leaf: await world.agentLeaf(id),
    onGoAway: () => told.away?.(),
    onOpen(stream: TunnelStream, payload: Buffer) {
      if (decodeOpen(payload).kind === 'policy') {
        stream.accept()
        return void collect(stream).then(() => stream.end())
      }
      stream.accept(Buffer.from(answer))
      echo(stream)
    },
  })
  return { id, tunnel, away }
}
async function caller(purpose: 'user' | 'peer') {
  const leaf =
    purpose === 'user'
      ? await world.userLeaf()
      : await world.leaf({ uri: proxyUri(CLUSTER, newId('proxy', clock.now(), systemRandom)) })
  return { leaf, tunnel: await world.dial({ leaf, purpose }) }
}
/** As another proxy passes a user's stream on. */
async function passedOn(
  peer: Awaited<ReturnType<typeof caller>>,
  id: ReturnType<World['agentId']>,
) {
  return world.open({ ...peer, leaf: await world.userLeaf() }, [id])
}
const ended = (stream: TunnelStream): Promise<unknown> =>
  new Promise((resolve) => {
    stream.onclose = resolve
    stream.start()
  })

test('while it drains, its agents are reached through other proxies, old ones and new ones; nobody else comes in', async () => {
  const { id, tunnel, away } = await agent('')
  const before = await caller('peer')
  const drained = world.proxy.drain(60_000)
  await away
  expect((await passedOn(before, id)).state).toBe('open')
  const after = await caller('peer')
  const stream = await passedOn(after, id)
  const said = collect(stream)
  stream.write(Buffer.from('still here'))
  stream.end()
  expect((await said).toString()).toBe('still here')
  for (const purpose of ['user', 'agent'] as const) {
    const leaf = purpose === 'user' ? await world.userLeaf() : await world.agentLeaf(id)
    expect((await failure(() => world.dial({ leaf, purpose })))?.code).toBe('ERR_PROXY_BUSY')
  }
  // What a peer's door lets in is looked at again when it has proven who it is.
  const leaf = await world.userLeaf()
  expect((await failure(() => world.dial({ leaf, purpose: 'peer' })))?.code).toBe(
    'ERR_TUNNEL_HANDSHAKE',
  )
  tunnel.session.close()
  before.tunnel.session.close()
  after.tunnel.session.close()
  const over = drained.then(() => true)
  await world.log.seen('proxy.tunnel_closed')
  while (!(await Promise.race([over, new Promise((r) => void setImmediate(r, false))])))
    clock.advance(100)
})

test('an agent that leaves gets no new streams, has no row, and its streams that can move are told', async () => {
  const mover = await agent('half of a key')
  const stayer = await agent('')
  await world.presence.written(4)
  const user = await caller('user')
  const moving = ended(await world.open(user, [mover.id]))
  const staying = await world.open(user, [stayer.id])
  mover.tunnel.session.goAway(0)
  stayer.tunnel.session.goAway(0)
  expect(await moving).toMatchObject({ code: 'ERR_TUNNEL_CLOSED' })
  await world.presence.written(6)
  for (const { id } of [mover, stayer]) {
    expect(await world.presence.tunnelsOf(id)).toEqual([])
    expect((await failure(() => world.open(user, [id])))?.code).toBe('ERR_RESOURCE_OFFLINE')
  }
  const said = collect(staying)
  staying.write(Buffer.from('to the end'))
  staying.end()
  expect((await said).toString()).toBe('to the end')
})

test('an agent that leaves with one tunnel and stays with a newer one is reached through that', async () => {
  const { id, tunnel } = await agent('')
  const newer = await world.dial({
    leaf: await world.agentLeaf(id),
    onOpen: (stream) => stream.accept(Buffer.from('newer')),
  })
  // Both rows were written, and the older one was ended.
  await world.presence.written(5)
  tunnel.session.goAway(0)
  await tunnel.session.ping()
  expect((await world.presence.tunnelsOf(id)).map((row) => row.connId)).toEqual([newer.connId])
  const user = await caller('user')
  expect((await world.open(user, [id])).payload.toString()).toBe('newer')
})

// A client reaches a proxy over real TLS: what works, and what every wrong turn gets.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { AppError } from '../../../core/errors.ts'
import { tunnelUpgrade, type AcceptedTunnel } from '../../../net/tunnel-server.ts'
import { connectTunnel, type ConnectedTunnel } from '../../../net/tunnel-client.ts'
import { SUBPROTOCOL } from '../../../core/tunnel/version.ts'
import { handClock } from '../../support/clock.ts'
import { failure, makeCa, PROXY_ID } from '../../support/pki.ts'
import { collect } from '../../support/streams.ts'
import {
  clientOf,
  cluster,
  frontDoor,
  type Cluster,
  type FrontDoor,
} from '../../support/tunnel-server.ts'

let of: Cluster
let door: FrontDoor
const tunnels: ConnectedTunnel[] = []

beforeAll(async () => {
  of = await cluster()
})
beforeEach(async () => {
  door = await frontDoor(of)
})
afterEach(async () => {
  for (const { session } of tunnels.splice(0)) session.close()
  await door.close()
})
const go = async (change: object = {}) => {
  const tunnel = await connectTunnel({ ...clientOf(of, door), ...change })
  tunnels.push(tunnel)
  return tunnel
}

test('an agent and a user get through, each known by its certificate', async () => {
  const asAgent = await go()
  expect(asAgent).toMatchObject({ proxyId: PROXY_ID, liveProxies: 1 })
  const there = (await door.next()) as AcceptedTunnel
  expect(there).toMatchObject({ purpose: 'agent', identity: { kind: 'agent', service: 'ssh' } })
  expect(there.connId).toBe(asAgent.connId)
  await go({ identity: of.user, purpose: 'user' })
  expect(((await door.next()) as AcceptedTunnel).identity).toMatchObject({ user: 'alice' })
})

test('streams work in both directions at once, from the first moment', async () => {
  await door.close()
  door = await frontDoor(of, {
    onOpen: (stream) => {
      stream.accept(Buffer.from('welcome'))
      stream.start()
      stream.write(Buffer.from('first'))
      stream.end()
    },
  })
  const { session } = await go({
    onOpen: (stream: Parameters<ReturnType<typeof clientOf>['onOpen']>[0]) => stream.accept(),
  })
  const there = (await door.next()) as AcceptedTunnel
  const [mine, theirs] = await Promise.all([
    session.open(Buffer.from('a')),
    there.session.open(Buffer.from('b')),
  ])
  expect(mine.payload.toString()).toBe('welcome')
  expect((await collect(mine)).toString()).toBe('first')
  expect(theirs.id % 2).toBe(0)
})

describe('the attempt fails with', () => {
  test.each<[string, string, () => object | Promise<object>]>([
    [
      'ERR_TUNNEL_HANDSHAKE',
      'the proxy is certified by another CA',
      async () => ({ hostCas: [(await makeCa('x')).certificate] }),
    ],
    [
      'ERR_TUNNEL_HANDSHAKE',
      'the proxy is of another cluster',
      () => ({ cluster: 'other.postern' }),
    ],
    [
      'ERR_TUNNEL_HANDSHAKE',
      'our purpose and our certificate disagree',
      () => ({ purpose: 'user' }),
    ],
    [
      'ERR_TUNNEL_HANDSHAKE',
      'we dialled a name that is not the proxy’s',
      () => ({ url: `wss://localhost:${door.port}` }),
    ],
    [
      'ERR_UNREACHABLE',
      'its TLS certificate is not trusted',
      () => ({ trust: { system: true, ca: [] } }),
    ],
    ['ERR_USAGE', 'plain ws leaves this machine', () => ({ url: 'ws://192.0.2.1:80' })],
  ])('%s when %s', async (code, _why, change) => {
    expect((await failure(async () => go(await change())))?.code).toBe(code)
  })

  test('what the proxy refused it with: code and message, nothing private', async () => {
    await door.close()
    door = await frontDoor(of, {
      authorise: () => {
        throw new AppError('ERR_LOCKED', 'A lock is in force', { internal: 'lock lk_secret' })
      },
    })
    const result = await go().catch((e: unknown) => e as AppError)
    expect(result).toMatchObject({ code: 'ERR_LOCKED', message: 'A lock is in force' })
    expect(JSON.stringify(result)).not.toContain('lk_secret')
    expect(((await door.next()) as AppError).internal).toBe('lock lk_secret')
  })

  test('the problem document of a refused upgrade', async () => {
    door.server.removeAllListeners('upgrade')
    door.server.on('upgrade', (_request, socket: Socket) => {
      const body = JSON.stringify({ code: 'ERR_RATE_LIMITED', detail: 'Too many handshakes' })
      socket.end(
        `HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      )
    })
    const result = await go().catch((e: unknown) => e as AppError)
    expect(result).toMatchObject({ code: 'ERR_RATE_LIMITED', details: { retryAfter: 7 } })
  })

  test('ERR_UNREACHABLE when nobody listens, or something else answers', async () => {
    const port = await freePort()
    expect((await failure(() => go({ url: `wss://127.0.0.1:${port}` })))?.code).toBe(
      'ERR_UNREACHABLE',
    )
    door.server.removeAllListeners('upgrade')
    door.server.on('upgrade', (_request, socket: Socket) =>
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'),
    )
    expect((await failure(() => go()))?.code).toMatch(/ERR_UNREACHABLE|ERR_INTERNAL/)
  })

  test('the reason of an abort, whatever step it hits', async () => {
    const stop = new AbortController()
    stop.abort(new Error('stopped'))
    await expect(go({ signal: stop.signal })).rejects.toThrow('stopped')
    // In the middle of the handshake: the proxy never answers hello.
    const silent = new AbortController()
    door.server.removeAllListeners('upgrade')
    door.server.on('upgrade', () => silent.abort(new Error('stopped later')))
    await expect(go({ signal: silent.signal })).rejects.toThrow('stopped later')
  })
})

// Agents that hang for ever in a dial, an upgrade or a handshake: three bugs that other systems shipped.
describe('no step waits for ever:', () => {
  test('a server that accepts TCP and says nothing is given up by the dial deadline', async () => {
    const clock = handClock(Date.now())
    const mute = createServer()
    mute.listen(0, '127.0.0.1')
    await once(mute, 'listening')
    const sockets: Socket[] = []
    const met = new Promise<void>((resolve) =>
      mute.on('connection', (socket) => {
        sockets.push(socket)
        resolve()
      }),
    )
    const attempt = failure(() => go({ url: `wss://127.0.0.1:${portOf(mute)}`, clock }))
    await met
    clock.advance(10_000)
    expect((await attempt)?.code).toBe('ERR_TIMEOUT')
    for (const socket of sockets) socket.destroy()
    mute.close()
  })

  test('a server that never upgrades is given up by the upgrade deadline', async () => {
    const clock = handClock(Date.now())
    door.server.removeAllListeners('upgrade')
    const asked = once(door.server, 'upgrade')
    const attempt = failure(() => go({ clock }))
    await asked
    clock.advance(10_000)
    expect((await attempt)?.code).toBe('ERR_TIMEOUT')
  })

  test('a proxy that upgrades and then says nothing is given up by the handshake deadline', async () => {
    const clock = handClock(Date.now())
    await door.close()
    door = await frontDoor(of)
    door.server.removeAllListeners('upgrade')
    const greeted = new Promise<void>((resolve) =>
      door.server.on('upgrade', (request, socket, head) =>
        tunnelUpgrade(request, socket, head, clock, (link) => {
          door.sockets.add(link)
          link.ontext = () => resolve()
        }),
      ),
    )
    const attempt = failure(() => go({ clock }))
    await greeted
    clock.advance(10_000)
    expect((await attempt)?.code).toBe('ERR_TIMEOUT')
  })

  test('a client that upgrades and then says nothing is dropped by the proxy', async () => {
    const clock = handClock(Date.now())
    await door.close()
    door = await frontDoor(of, {}, clock)
    const ws = new WebSocket(`${door.url}/v1/tunnel`, SUBPROTOCOL, { ca: door.ca })
    await once(ws, 'open')
    const closed = once(ws, 'close')
    clock.advance(10_000)
    expect(((await door.next()) as AppError).code).toBe('ERR_TIMEOUT')
    await closed
  })
})

// Before the handshake is over nobody has proven anything.
describe('the proxy hangs up on a client that', () => {
  const rude = async (send: (ws: WebSocket) => void): Promise<string> => {
    const ws = new WebSocket(`${door.url}/v1/tunnel`, SUBPROTOCOL, { ca: door.ca })
    ws.on('error', () => undefined)
    await once(ws, 'open')
    const closed = once(ws, 'close')
    send(ws)
    await closed
    return ((await door.next()) as AppError).code
  }
  test.each<[string, (ws: WebSocket) => void]>([
    ['sends a frame first', (ws) => ws.send(Buffer.alloc(12))],
    ['sends no JSON', (ws) => ws.send('hello')],
    ['sends a hello of 32 KiB', (ws) => ws.send(' '.repeat(32_769))],
    ['sends an unknown field', (ws) => ws.send('{"type":"hello","versions":[1],"admin":true}')],
    [
      'floods before it is answered',
      (ws) => {
        for (let i = 0; i < 20; i++) ws.send(Buffer.alloc(30_000))
      },
    ],
  ])('%s', async (_what, send) => {
    expect(await rude(send)).toBe('ERR_TUNNEL_PROTOCOL')
  })
  test('sends a message above the limit of the carrier', async () => {
    expect(await rude((ws) => ws.send(Buffer.alloc(600_000)))).toBe('ERR_TUNNEL_CLOSED')
  })
})

test('through a CONNECT proxy with a login, and not when the proxy refuses', async () => {
  const heads: string[] = []
  const relay = createServer((socket) => {
    socket.once('data', (bytes: Buffer) => {
      heads.push(bytes.toString('latin1'))
      if (!/Proxy-Authorization: Basic dTpw\r\n/.test(heads.at(-1) ?? ''))
        return void socket.end('HTTP/1.1 407 No\r\n\r\n')
      const onward = connect(door.port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
        socket.pipe(onward).pipe(socket)
      })
      onward.on('error', () => socket.destroy())
      socket.on('error', () => onward.destroy())
    })
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  const at = `127.0.0.1:${portOf(relay)}`
  const { session } = await go({ proxy: () => `http://u:p@${at}` })
  expect(await session.ping()).toBeGreaterThan(0)
  expect(heads[0]).toContain(`CONNECT 127.0.0.1:${door.port} HTTP/1.1`)
  await expect(go({ proxy: () => `http://${at}` })).rejects.toMatchObject({
    code: 'ERR_FORWARD_PROXY',
    message: `The HTTPS proxy ${at} refused its login (407)`,
  })
  await expect(go({ proxy: () => 'http://127.0.0.1:1' })).rejects.toMatchObject({
    code: 'ERR_UNREACHABLE',
    message: 'The HTTPS proxy 127.0.0.1:1 cannot be reached (ECONNREFUSED)',
  })
  session.close()
  relay.close()
})

test('a text message after the handshake ends the tunnel', async () => {
  let end: (err?: AppError) => void = () => undefined
  const over = new Promise<AppError | undefined>((resolve) => (end = resolve))
  const { session } = await go({ onClose: (err?: AppError) => end(err) })
  await door.next()
  for (const link of door.sockets) link.sendText('hi')
  expect((await over)?.code).toBe('ERR_TUNNEL_PROTOCOL')
  expect(session.closed).toBe(true)
})

test('an agent whose proxy process vanishes learns it at once', async () => {
  let end: (err?: AppError) => void = () => undefined
  const over = new Promise<AppError | undefined>((resolve) => (end = resolve))
  await go({ onClose: (err?: AppError) => end(err) })
  for (const link of door.sockets) link.terminate()
  expect((await over)?.code).toBe('ERR_TUNNEL_CLOSED')
})

const portOf = (server: { address(): AddressInfo | string | null }) =>
  (server.address() as AddressInfo).port
async function freePort(): Promise<number> {
  const probe = createServer()
  probe.listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const port = portOf(probe)
  probe.close()
  await once(probe, 'close')
  return port
}

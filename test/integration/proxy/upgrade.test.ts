// Upgrades as an attacker writes them: what is no WebSocket of ours is answered once, cut, and holds nothing, whatever its sender does.
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { handClock } from '../../support/clock.ts'
import { proxyWorld, type World } from '../../support/proxy-world.ts'

let world: World
const sockets: TLSSocket[] = []
beforeEach(async () => {
  world = await proxyWorld({ clock: handClock() })
})
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await world.close()
})

interface Sent {
  readonly socket: TLSSocket
  /** Everything that was answered, once the proxy has ended its side. */
  readonly answer: Promise<string>
  readonly first: Promise<string>
}
/** Sends an upgrade with some headers otherwise, and keeps its own end open whatever comes. */
async function send(
  change: Readonly<Record<string, string>> = {},
  { method = 'GET', after = '' } = {},
): Promise<Sent> {
  const [host = '', port = ''] = world.address.split(':')
  const socket = connect({
    host,
    port: Number(port),
    ca: world.tlsCa,
    allowHalfOpen: true,
  } as never)
  sockets.push(socket)
  socket.on('error', () => undefined)
  await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()))
  const headers = {
    host: world.address,
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    'sec-websocket-protocol': 'postern-tunnel.v1',
    ...change,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  let text = ''
  const first = new Promise<string>((resolve) =>
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1')
      resolve(text)
    }),
  )
  const answer = new Promise<string>((resolve) => socket.once('end', () => resolve(text)))
  socket.write(`${method} /v1/tunnel HTTP/1.1\r\n${lines.join('')}\r\n${after}`)
  return { socket, answer, first }
}
const answersIn = (text: string): number => text.split('HTTP/1.1 ').length - 1

const BENT: readonly [string, Record<string, string>, { method?: string }, string][] = [
  ['an old version', { 'sec-websocket-version': '12' }, {}, ' 426 '],
  ['a key of another length', { 'sec-websocket-key': 'AAAA' }, {}, ' 400 '],
  ['another upgrade', { upgrade: 'h2c' }, {}, ' 400 '],
  ['another method', {}, { method: 'POST' }, ' 405 '],
  ['a body', { 'content-length': '5' }, {}, ' 400 '],
  ['a body without a length', { 'transfer-encoding': 'chunked' }, {}, ' 400 '],
]

// Slots are few: one that is held by who does nothing more would be a slot for ever.
test.each(BENT)(
  'with %s it is refused and its slot is free at once',
  async (_, change, more, status) => {
    const { socket, answer } = await send(change, more)
    expect(await answer).toContain(status)
    expect(socket.writable).toBe(true)
    await expect.poll(() => world.proxy.stats().handshakesPending).toBe(0)
  },
)

// Load balancers that take a refused upgrade for a tunnel: what comes after it must not be a request to us.
test.each(BENT)('with %s nothing behind it is taken for a request', async (_, change, more) => {
  const { answer } = await send(change, {
    ...more,
    after: `GET /healthz HTTP/1.1\r\nhost: ${world.address}\r\n\r\n`,
  })
  expect(answersIn(await answer)).toBe(1)
})

test('compression that is offered is not granted, and what is compressed all the same ends it', async () => {
  const { socket, first, answer } = await send({
    'sec-websocket-extensions': 'permessage-deflate; client_max_window_bits',
  })
  expect(await first).toContain(' 101 ')
  expect(await first).not.toMatch(/extensions/i)
  socket.write(Buffer.from([0xc1, 0x82, 0, 0, 0, 0, 0x7b, 0x7d]))
  // A close frame with 1002, protocol error.
  expect((await answer).includes('\u0088\u0002\u0003\u00ea')).toBe(true)
})

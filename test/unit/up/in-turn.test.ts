// Many connections at once, over real TLS: all are served, a few begin at a time, and who gave up costs nothing.
import { once } from 'node:events'
import { createServer, get, type Server } from 'node:https'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { acceptInTurn, type InTurnLimits } from '../../../cli/up/in-turn.ts'
import { serverTls } from '../../support/tls.ts'

let server: Server
let ca: string
let began: number
let close: () => void
const port = (): number => (server.address() as AddressInfo).port

async function start(limits: InTurnLimits): Promise<void> {
  const tls = await serverTls()
  ca = tls.ca
  server = createServer(tls.options, (_request, response) => response.end('here'))
  // The server's own listener stays the last: this one sees what begins.
  server.prependListener('connection', () => (began += 1))
  close = acceptInTurn(server, limits)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
}
const ask = (): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port: port(), ca, agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode))
    }).on('error', reject)
  })
async function dial(): Promise<Socket> {
  const socket = connect(port(), '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

beforeEach(() => (began = 0))
afterEach(async () => {
  close()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

test('a hundred that come at once are all served', async () => {
  await start({ perTurn: 2, waiting: 1000 })
  const answers = await Promise.all(Array.from({ length: 100 }, ask))
  expect(answers).toEqual(Array(100).fill(200))
})

test('no more than a few begin in one turn', async () => {
  await start({ perTurn: 3, waiting: 1000 })
  const perTurn: number[] = []
  const sockets = Array.from({ length: 20 }, () => connect(port(), '127.0.0.1'))
  for (const socket of sockets) socket.on('error', () => undefined)
  for (let before = 0; began < 20;) {
    await new Promise((resolve) => setImmediate(resolve))
    perTurn.push(began - before)
    before = began
  }
  expect(Math.max(...perTurn)).toBeLessThanOrEqual(3)
  for (const socket of sockets) socket.destroy()
})

test('above the bound the one that waited for longest is closed, and the newest is served', async () => {
  await start({ perTurn: 0, waiting: 2 })
  const oldest = await dial()
  const closed = once(oldest, 'close')
  const others = [await dial(), await dial()]
  await closed
  expect(others.map((socket) => socket.destroyed)).toEqual([false, false])
  for (const socket of others) socket.destroy()
})

test('who has left again, with a reset or without, is not begun', async () => {
  const limits = { perTurn: 0, waiting: 100 }
  await start(limits)
  const [calm, rude] = [await dial(), await dial()]
  await connected(2)
  calm.end('half of a greeting')
  rude.resetAndDestroy()
  // The one that said something before it ended is there until somebody looks.
  await connected(1)
  limits.perTurn = 10
  expect(await ask()).toBe(200)
  expect(began).toBe(1)
})

/** Resolves when the server has exactly that many connections. */
async function connected(count: number): Promise<void> {
  const connections = () =>
    new Promise<number>((resolve) => server.getConnections((_e, n) => resolve(n)))
  while ((await connections()) !== count) await new Promise((resolve) => setImmediate(resolve))
}

test('closing turns away who waits', async () => {
  await start({ perTurn: 0, waiting: 100 })
  const socket = await dial()
  const closed = once(socket, 'close')
  socket.resume()
  close()
  await closed
})

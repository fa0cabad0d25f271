/**
 * The agent process of the benchmark: `agent.ts <world> ours|plain <proxy port> <target port>`. As `user` it is the user's end
 * instead, as a ProxyCommand is: plain TCP in, its own tunnel to the proxy out; it prints its port.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setDefaultHighWaterMark } from 'node:stream'
import { WebSocket } from 'ws'
import { spliceSocket } from '../../core/tunnel/splice.ts'
import { SUBPROTOCOL } from '../../core/tunnel/version.ts'
import { readInto } from '../../net/read-into.ts'
import { connectTunnel } from '../../net/tunnel-client.ts'
import { joinWebSocket } from './plain.ts'
import { caOf, CLUSTER, identity, readWorld } from './world.ts'

/** WebSockets kept waiting for users in mode plain. */
const POOL = 160

setDefaultHighWaterMark(false, 262_144)
const [path = '', mode = 'ours', door = '', target = ''] = process.argv.slice(2)
const world = readWorld(path)
const dial = (): Socket =>
  connect({ port: Number(target), host: '127.0.0.1', allowHalfOpen: true, noDelay: true })

function keepWaiting(): void {
  const ws = new WebSocket(`wss://127.0.0.1:${door}/v1/tunnel`, SUBPROTOCOL, {
    ca: world.ca,
    perMessageDeflate: false,
    generateMask: (mask) => void mask.fill(0),
  })
  ws.on('error', () => undefined)
  ws.once('message', () => {
    keepWaiting()
    joinWebSocket(ws, dial(), false)
  })
}

const open = () =>
  connectTunnel({
    url: `wss://127.0.0.1:${door}`,
    trust: { system: false, ca: [world.ca] },
    cluster: CLUSTER,
    hostCas: [caOf(world)],
    identity: identity(world.agent),
    purpose: 'agent',
    onOpen: (stream) => {
      const socket = dial()
      socket.once('connect', () => {
        stream.accept()
        spliceSocket(stream, socket, readInto)
      })
      socket.once('error', () => stream.refuse('ERR_UPSTREAM_UNREACHABLE'))
    },
    onClose: () => process.exit(0),
  })

if (mode === 'plain') for (let i = 0; i < POOL; i++) keepWaiting()
else {
  const { session } = await open()
  if (mode === 'user') {
    const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true }
    const users = createServer(options, (user) => {
      session.open(Buffer.from('{}')).then(
        (stream) => spliceSocket(stream, user, readInto),
        () => user.destroy(),
      )
    })
    users.listen(0, '127.0.0.1', () =>
      process.stdout.write(`${(users.address() as AddressInfo).port}\n`),
    )
  }
}
if (mode !== 'user') process.stdout.write('ready\n')

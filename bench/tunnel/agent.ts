/** The agent process of the benchmark: `agent.ts <world> ours|plain <proxy port> <target port>`. */
import { connect, type Socket } from 'node:net'
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

if (mode === 'plain') for (let i = 0; i < POOL; i++) keepWaiting()
else
  await connectTunnel({
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
process.stdout.write('ready\n')

/**
 * The proxy process of the benchmark: `proxy.ts <world> ours|plain`. Users connect by plain TCP, the agent by WebSocket over TLS.
 * `ours` puts every user into one tunnel; `plain` gives each its own WebSocket, taken from those the agent keeps waiting.
 */
import { createServer as createHttpsServer } from 'node:https'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { setDefaultHighWaterMark } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import { systemClock } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import type { Session } from '../../core/tunnel/session.ts'
import { SUBPROTOCOL } from '../../core/tunnel/version.ts'
import { spliceSocket, spliceStreams } from '../../core/tunnel/splice.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import { readInto } from '../../net/read-into.ts'
import { acceptTunnel, tunnelUpgrade } from '../../net/tunnel-server.ts'
import { joinWebSocket } from './plain.ts'
import { caOf, CLUSTER, identity, readWorld } from './world.ts'

setDefaultHighWaterMark(false, 262_144)
const [path = '', mode = 'ours'] = process.argv.slice(2)
const world = readWorld(path)
const ca = caOf(world)
const budget = createWindowBudget()
const idle: WebSocket[] = []
const waiting: Socket[] = []
let session: Session | undefined

const door = createHttpsServer(world.tls)
const upgrader = new WebSocketServer({
  noServer: true,
  perMessageDeflate: false,
  handleProtocols: () => SUBPROTOCOL,
})
door.on('upgrade', (request, socket, head) => {
  if (mode === 'plain')
    return upgrader.handleUpgrade(request, socket, head, (ws) => {
      const user = waiting.shift()
      if (user) joinWebSocket(ws, user, true)
      else idle.push(ws)
    })
  tunnelUpgrade(request, socket, head, systemClock, (link) => {
    void acceptTunnel(link, {
      cluster: CLUSTER,
      identity: identity(world.proxy),
      hostCas: () => [ca],
      userCas: () => [],
      isOwnAddress: () => true,
      liveProxies: () => 1,
      clock: systemClock,
      random: systemRandom,
      budget,
      authorise: () => undefined,
      // A second tunnel is that of a user's end: its streams go to the first.
      onOpen: (stream, payload) => {
        session?.open(payload).then(
          (answered) => {
            stream.accept()
            spliceStreams(stream, answered)
          },
          () => stream.refuse('ERR_RESOURCE_OFFLINE'),
        )
      },
    }).then((tunnel) => {
      session ??= tunnel.session
    })
  })
})

const users = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (user) => {
  if (mode === 'plain') {
    const ws = idle.pop()
    if (ws) joinWebSocket(ws, user, true)
    else waiting.push(user)
    return
  }
  session?.open(Buffer.from('{}')).then(
    (stream) => {
      spliceSocket(stream, user, readInto)
    },
    () => user.destroy(),
  )
})
door.listen(0, '127.0.0.1', () =>
  users.listen(0, '127.0.0.1', () => {
    const ports = [door, users].map((s) => (s.address() as AddressInfo).port)
    process.stdout.write(`${JSON.stringify(ports)}\n`)
  }),
)

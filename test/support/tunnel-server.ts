/** A proxy's front door on loopback: HTTPS, the tunnel's upgrade, the real handshake. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { systemClock, instant, type Clock } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import {
  acceptTunnel,
  tunnelUpgrade,
  type AcceptedTunnel,
  type TunnelServerOptions,
  type WebSocketLink,
} from '../../net/tunnel-server.ts'
import type { TunnelClientOptions } from '../../net/tunnel-client.ts'
import { agentLeaf, CLUSTER, makeCa, proxyLeaf, userLeaf, type Ca, type Leaf } from './pki.ts'
import { offers } from './streams.ts'
import { serverTls } from './tls.ts'

export interface Cluster {
  readonly hostCa: Ca
  readonly userCa: Ca
  readonly proxy: Leaf
  readonly agent: Leaf
  readonly user: Leaf
}
export async function cluster(): Promise<Cluster> {
  const now = instant(Date.now())
  const [hostCa, userCa] = await Promise.all([
    makeCa('host', 'ES256', now),
    makeCa('user', 'ES256', now),
  ])
  const [proxy, agent, user] = await Promise.all([
    proxyLeaf(hostCa, 'ES256', now),
    agentLeaf(hostCa, 'ES256', now),
    userLeaf(userCa, 'alice', 'ES256', now),
  ])
  return { hostCa, userCa, proxy, agent, user }
}

export interface FrontDoor {
  readonly port: number
  readonly url: string
  readonly server: Server
  /** PEM of the CA of its TLS certificate. */
  readonly ca: string
  /** Tunnels that were accepted, or the error of those that were not, in order. */
  next(): Promise<AcceptedTunnel | Error>
  readonly sockets: Set<WebSocketLink>
  close(): Promise<void>
}

export async function frontDoor(
  of: Cluster,
  overrides: Partial<TunnelServerOptions> = {},
  clock: Clock = systemClock,
): Promise<FrontDoor> {
  const { options, ca } = await serverTls()
  const server = createServer(options)
  const results = offers<AcceptedTunnel | Error>()
  const sockets = new Set<WebSocketLink>()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.on('upgrade', (request, socket, head) =>
    tunnelUpgrade(request, socket, head, clock, (ws) => {
      sockets.add(ws)
      acceptTunnel(ws, {
        cluster: CLUSTER,
        identity: of.proxy,
        hostCas: () => [of.hostCa.certificate],
        userCas: () => [of.userCa.certificate],
        isOwnAddress: (dialled) => dialled === `127.0.0.1:${port}`,
        liveProxies: () => 1,
        clock,
        random: systemRandom,
        budget: createWindowBudget(),
        authorise: () => undefined,
        onOpen: (stream) => stream.accept(),
        ...overrides,
      }).then(
        (tunnel) => results.push(tunnel),
        (e: unknown) => results.push(e as Error),
      )
    }),
  )
  return {
    port,
    url: `wss://127.0.0.1:${port}`,
    server,
    ca,
    next: () => results.next(),
    sockets,
    async close() {
      for (const ws of sockets) ws.terminate()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** What an agent of the cluster would give to connectTunnel. */
export const clientOf = (of: Cluster, door: FrontDoor): TunnelClientOptions => ({
  url: door.url,
  trust: { system: false, ca: [door.ca] },
  cluster: CLUSTER,
  hostCas: [of.hostCa.certificate],
  identity: of.agent,
  purpose: 'agent',
  onOpen: (stream) => stream.refuse('ERR_FORBIDDEN'),
})

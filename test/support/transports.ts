/** The carriers a tunnel is tested over: memory, TCP, a socket of one machine, and the real thing, a WebSocket inside TLS. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { createServer as createHttpsServer } from 'node:https'
import { connect as connectTls } from 'node:tls'
import { systemClock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import type { Transport } from '../../core/tunnel/transport.ts'
import { socketTransport } from '../../net/transport-socket.ts'
import { webSocketTransport } from '../../net/transport-ws.ts'
import { tunnelUpgrade } from '../../net/tunnel-server.ts'
import { requestUpgrade } from '../../net/websocket/upgrade.ts'
import { SUBPROTOCOL } from '../../core/tunnel/version.ts'
import { serverTls } from './tls.ts'

export interface Pair {
  readonly client: Transport
  readonly server: Transport
  dispose(): Promise<void>
}

/** A transport in memory whose other end can stop reading, and whose chunks can be cut anywhere. */
export interface MemoryTransport extends Transport {
  /** Nothing is delivered to the other end while true. */
  stalled: boolean
  deliver(): void
}

export function memoryPair(cut: (n: number) => number = (n) => n): Pair & {
  readonly client: MemoryTransport
  readonly server: MemoryTransport
} {
  const make = (peer: () => MemoryTransport): MemoryTransport => {
    let waiting: Buffer[] = []
    let bytes = 0
    let over = false
    const self: MemoryTransport = {
      ondata: undefined,
      ondrain: undefined,
      onend: undefined,
      stalled: false,
      get buffered() {
        return bytes
      },
      writev(bufs, n) {
        if (over) return
        waiting.push(...bufs.map((b) => Buffer.from(b)))
        bytes += n
        setImmediate(() => self.deliver())
      },
      deliver() {
        if (self.stalled || bytes === 0) return
        let all = Buffer.concat(waiting)
        waiting = []
        bytes = 0
        while (all.length > 0) {
          const n = Math.max(1, Math.min(all.length, cut(all.length)))
          peer().ondata?.(Buffer.from(all.subarray(0, n)))
          all = all.subarray(n)
        }
        self.ondrain?.()
      },
      close(err) {
        if (over) return
        self.deliver()
        over = true
        setImmediate(() => {
          self.onend?.()
          peer().onend?.(err && new AppError(err.code))
        })
      },
    }
    return self
  }
  const client: MemoryTransport = make(() => server)
  const server: MemoryTransport = make(() => client)
  return { client, server, dispose: async () => undefined }
}

const portOf = (server: { address(): AddressInfo | string | null }): number =>
  (server.address() as AddressInfo).port

export async function tcpPair(): Promise<Pair> {
  const listener = createTcpServer()
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const client = connect(portOf(listener), '127.0.0.1')
  const [server] = (await once(listener, 'connection')) as [Socket]
  if (client.connecting) await once(client, 'connect')
  return {
    client: socketTransport(client, systemClock),
    server: socketTransport(server, systemClock),
    async dispose() {
      client.destroy()
      server.destroy()
      listener.close()
      await once(listener, 'close')
    },
  }
}

/** As workers of one proxy reach each other. */
export async function unixPair(): Promise<Pair> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-'))
  const path = join(dir, 'pair.sock')
  const listener = createTcpServer()
  listener.listen(path)
  await once(listener, 'listening')
  const client = connect(path)
  const [server] = (await once(listener, 'connection')) as [Socket]
  if (client.connecting) await once(client, 'connect')
  return {
    client: socketTransport(client, systemClock),
    server: socketTransport(server, systemClock),
    async dispose() {
      client.destroy()
      server.destroy()
      listener.close()
      await once(listener, 'close')
      await rm(dir, { recursive: true })
    },
  }
}

export async function webSocketPair(): Promise<Pair> {
  const { options, ca } = await serverTls()
  const listener = createHttpsServer(options)
  const accepted = new Promise<Transport>((resolve) =>
    listener.on('upgrade', (request, socket, head) =>
      tunnelUpgrade(request, socket, head, systemClock, (link) =>
        resolve(webSocketTransport(link)),
      ),
    ),
  )
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const url = new URL(`wss://127.0.0.1:${portOf(listener)}/v1/tunnel`)
  const socket = connectTls({ port: portOf(listener), host: '127.0.0.1', ca })
  await once(socket, 'secureConnect')
  const upgraded = await requestUpgrade(url, socket, {
    subprotocol: SUBPROTOCOL,
    clock: systemClock,
  })
  if (!('link' in upgraded)) throw new Error('not upgraded')
  const client = webSocketTransport(upgraded.link)
  upgraded.link.start(upgraded.head)
  return {
    client,
    server: await accepted,
    async dispose() {
      upgraded.link.terminate()
      listener.closeAllConnections()
      listener.close()
      await once(listener, 'close')
    },
  }
}

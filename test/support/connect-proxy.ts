/**
 * An HTTP CONNECT proxy (RFC 9110 section 9.3.6) as companies run them: it wants a login, resolves names itself, and lets nothing
 * through but what it was told to. It checks every request and keeps what it was asked for.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'

export interface ConnectProxy {
  /** For HTTPS_PROXY, with the login. */
  readonly url: string
  /** Targets of the tunnels that were made, `host:port`, in order. */
  readonly made: readonly string[]
  /** Requests that were refused, as `status target`. */
  readonly refused: readonly string[]
  /** Cuts every tunnel. */
  cut(): void
  close(): Promise<void>
}

/** `names`: what it resolves, `host:port` to a port of loopback. Literal loopback addresses pass as they are. */
export async function connectProxy(names: ReadonlyMap<string, number>): Promise<ConnectProxy> {
  const login = `Basic ${Buffer.from('user:p@ss').toString('base64')}`
  const made: string[] = []
  const refused: string[] = []
  const sockets = new Set<Socket>()

  /** The port of loopback to connect to, or the status to refuse with. */
  function judge({ url = '', headers }: IncomingMessage): number {
    if (headers.host !== url || !/^[^/@]+:\d{1,5}$/.test(url)) return 400
    if (headers['proxy-authorization'] !== login) return 407
    return names.get(url) ?? Number(/^127\.0\.0\.1:(\d+)$/.exec(url)?.[1] ?? 403)
  }

  // Anything but CONNECT is no use of it.
  const server = createServer((request, response) => {
    refused.push(`405 ${request.url ?? ''}`)
    response.writeHead(405).end()
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
  })
  server.on('connect', (request, client: Socket, head: Buffer) => {
    const target = request.url ?? ''
    const port = judge(request)
    if (port < 1024) {
      refused.push(`${port} ${target}`)
      return void client.end(`HTTP/1.1 ${port} No\r\nProxy-Authenticate: Basic\r\n\r\n`)
    }
    const onward = connect(port, '127.0.0.1', () => {
      made.push(target)
      client.write('HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n')
      if (head.length > 0) onward.write(head)
      onward.pipe(client).pipe(onward)
    })
    onward.on('error', () => client.destroy())
    onward.on('close', () => client.destroy())
    client.on('close', () => onward.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: `http://user:p%40ss@127.0.0.1:${port}`,
    made,
    refused,
    cut,
    async close() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A TCP relay that can fall silent: connections stay open and no byte passes any more, as behind a firewall that forgot them. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface Freezer {
  /** `127.0.0.1:port`. */
  readonly address: string
  freeze(): void
  close(): Promise<void>
}

export async function freezer(target: string): Promise<Freezer> {
  const [host = '', port = ''] = target.split(':')
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(Number(port), host)
    near.pipe(far).pipe(near)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    freeze() {
      for (const socket of sockets) socket.unpipe().pause()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

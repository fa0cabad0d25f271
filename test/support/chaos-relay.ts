/**
 * The bad network in between: a TCP relay that cuts what passes through it, swallows it, or goes away with its port, as a killed
 * proxy or a lost Wi-Fi would. Addresses stay the same, so that whoever dials again comes back.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

export interface ChaosRelay {
  readonly port: number
  /** Bytes that passed, both ways, since the start. */
  readonly passed: number
  /** Connections open now. */
  readonly connections: number
  /** Resolves when `bytes` more have passed. */
  after(bytes: number): Promise<void>
  /** Every connection gets a RST, at both ends. New ones work. */
  cut(): void
  /** Connections that are open now stay so and pass nothing any more. New ones work. */
  swallow(): void
  /** Nobody listens any more and every connection is cut. */
  down(): Promise<void>
  /** Listens again, at the same port. */
  up(): Promise<void>
  close(): Promise<void>
}

export async function chaosRelay(target: () => number): Promise<ChaosRelay> {
  const sockets = new Set<Socket>()
  let passed = 0
  let waiting: { readonly at: number; readonly resolve: () => void }[] = []
  let port = 0
  let server: Server | undefined

  function passes(from: Socket, to: Socket): void {
    sockets.add(from)
    from.on('error', () => undefined)
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
    from.on('data', (bytes: Buffer) => {
      passed += bytes.length
      if (!to.write(bytes)) from.pause()
      for (const { at, resolve } of waiting) if (passed >= at) resolve()
      waiting = waiting.filter(({ at }) => passed < at)
    })
    to.on('drain', () => from.resume())
    from.on('end', () => to.end())
  }

  const cut = (): void => {
    for (const socket of [...sockets]) socket.resetAndDestroy()
  }

  const up = (): Promise<void> =>
    new Promise((resolve, reject) => {
      server = createServer({ allowHalfOpen: true }, (socket) => {
        const onward = connect({ port: target(), host: '127.0.0.1', allowHalfOpen: true })
        passes(socket, onward)
        passes(onward, socket)
      })
      server.once('error', reject)
      server.listen(port, '127.0.0.1', () => {
        port = (server?.address() as AddressInfo).port
        resolve()
      })
    })
  const down = (): Promise<void> =>
    new Promise((resolve) => {
      const closing = server
      server = undefined
      if (!closing) return resolve()
      closing.close(() => resolve())
      cut()
    })

  await up()
  return {
    get port() {
      return port
    },
    get passed() {
      return passed
    },
    get connections() {
      return sockets.size / 2
    },
    after: (bytes) =>
      new Promise((resolve) => {
        waiting.push({ at: passed + bytes, resolve })
      }),
    cut,
    swallow() {
      for (const socket of sockets) {
        socket.removeAllListeners('data')
        socket.removeAllListeners('end')
        socket.removeAllListeners('close')
        socket.pause()
      }
    },
    down,
    up,
    close: down,
  }
}

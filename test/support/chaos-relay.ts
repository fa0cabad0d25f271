/**
 * The bad network in between: a TCP relay that cuts what passes through it, swallows it, holds it up, or goes away with its port,
 * as a killed proxy, a lost Wi-Fi or a satellite would. Addresses stay the same, so that whoever dials again comes back.
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
  /** Connections that are open now stay so and pass nothing any more. New ones work, as after a change of address. */
  swallow(): void
  /** Until it is told otherwise new connections pass nothing either: they are taken, and that is all. */
  blackhole(on: boolean): void
  /** What comes from now on takes `delay` ms each way, and so much longer as lost segments cost (`loss` of 1, per piece read). */
  slow(path: { readonly delay?: number; readonly loss?: number }): void
  /** Nobody listens any more and every connection is cut. */
  down(): Promise<void>
  /** Listens again, at the same port. */
  up(): Promise<void>
  close(): Promise<void>
}

/** Bytes that one direction holds: more than the windows of a tunnel, so that the relay is never the limit. */
const HELD = 64 * 1024 * 1024
/** What a lost segment costs at least where nothing follows it: Linux's shortest retransmission timeout, ms. */
const RETRANSMISSION = 200

export async function chaosRelay(target: () => number): Promise<ChaosRelay> {
  const sockets = new Set<Socket>()
  const dead = new WeakSet<Socket>()
  let passed = 0
  let waiting: { readonly at: number; readonly resolve: () => void }[] = []
  let port = 0
  let server: Server | undefined
  let hole = false
  let path = { delay: 0, loss: 0 }
  let pieces = 0

  /** Runs what it is given in order, each as late as the path makes it. */
  function held(): (act: () => void) => void {
    let due = 0
    const waiting: (() => void)[] = []
    return (act) => {
      pieces += 1
      const lost = path.loss > 0 && pieces % Math.round(1 / path.loss) === 0
      const now = performance.now()
      due = Math.max(due, now + path.delay + (lost ? RETRANSMISSION : 0))
      if (waiting.length === 0 && due <= now) return act()
      waiting.push(act)
      // Timers may overtake each other; what they let go does not.
      setTimeout(() => waiting.shift()?.(), due - now)
    }
  }

  function passes(from: Socket, to: Socket): void {
    sockets.add(from)
    from.on('error', () => undefined)
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
    const later = held()
    let onItsWay = 0
    from.on('data', (bytes: Buffer) => {
      passed += bytes.length
      onItsWay += bytes.length
      if (onItsWay > HELD) from.pause()
      later(() => {
        onItsWay -= bytes.length
        if (dead.has(from) || to.destroyed) return
        if (to.write(bytes)) from.resume()
        else from.pause()
      })
      for (const { at, resolve } of waiting) if (passed >= at) resolve()
      waiting = waiting.filter(({ at }) => passed < at)
    })
    to.on('drain', () => from.resume())
    from.on('end', () => later(() => !dead.has(from) && to.end()))
  }

  const cut = (): void => {
    for (const socket of [...sockets]) socket.resetAndDestroy()
  }

  const swallow = (): void => {
    for (const socket of sockets) {
      socket.removeAllListeners('data')
      socket.removeAllListeners('end')
      socket.removeAllListeners('close')
      socket.pause()
      dead.add(socket)
    }
  }

  const up = (): Promise<void> =>
    new Promise((resolve, reject) => {
      server = createServer({ allowHalfOpen: true }, (socket) => {
        if (hole) {
          sockets.add(socket)
          socket.on('error', () => undefined)
          socket.on('close', () => sockets.delete(socket))
          return void socket.resume()
        }
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
    swallow,
    blackhole(on) {
      hole = on
      if (on) swallow()
    },
    slow({ delay = 0, loss = 0 }) {
      path = { delay, loss }
    },
    down,
    up,
    close: down,
  }
}

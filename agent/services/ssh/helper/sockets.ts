/**
 * The ends of forwards and the agent socket, opened with the user's rights and handed to the agent, which moves the bytes.
 * A name is resolved once and the very address that was checked is dialled, so that no second answer can slip in.
 */
import { lookup } from 'node:dns/promises'
import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, isIP, Socket, type Server } from 'node:net'
import { join } from 'node:path'
import type { Clock } from '../../../../core/clock.ts'
import { LIMITS } from '../../../../core/limits.ts'
import { refusedAddress } from '../addresses.ts'
import { sendFds, socketPair } from './libc.ts'
import type { Command, HelperEvent, Target } from './messages.ts'

export interface Sockets {
  connect(id: number, to: Target): Promise<void>
  listen(command: Extract<Command, { do: 'listen' }>): Promise<void>
  unlisten(id: number): void
  closeAll(): void
}

/** Sockets that we make are for the user alone. */
const SOCKET_MASK = 0o177

export function createSockets(
  fdSocket: number,
  tell: (event: HelperEvent) => void,
  clock: Clock,
): Sockets {
  const servers = new Map<number, { server: Server; made: string | undefined }>()

  /** Passes the socket's descriptor on; nothing was read from it yet because it is paused. */
  function handOver(id: number, socket: Socket): void {
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
    sendFds(fdSocket, id, [fd])
    socket.destroy()
  }

  /**
   * Unix sockets are read and written here: a peer that asks for credentials with each message (SO_PASSCRED) would see the
   * agent's, root's perhaps, if the agent wrote to them.
   */
  function relay(id: number, socket: Socket): void {
    const [ours, theirs] = socketPair('bytes')
    const inner = new Socket({ fd: ours, readable: true, writable: true, allowHalfOpen: true })
    sendFds(fdSocket, id, [theirs])
    closeSync(theirs)
    inner.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.on('error', () => inner.destroy()).on('close', () => inner.destroy())
    inner.pipe(socket)
    socket.pipe(inner)
  }
  const pass = (id: number, socket: Socket, unix: boolean): void =>
    unix ? relay(id, socket) : handOver(id, socket)

  async function listen(id: number, server: Server, at: Target, made?: string): Promise<void> {
    const before = process.umask(SOCKET_MASK)
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen('path' in at ? { path: at.path } : { host: at.host, port: at.port }, resolve)
        // Binding has happened by now; the mask is not for anything else.
        process.umask(before)
      })
    } finally {
      process.umask(before)
    }
    server.removeAllListeners('error').on('error', () => undefined)
    servers.set(id, { server, made })
    const address = server.address()
    if (typeof address === 'string') tell({ did: 'listen', id, path: address })
    else if (address) tell({ did: 'listen', id, port: address.port })
  }

  return {
    async connect(id, to) {
      const socket = 'path' in to ? await dial({ path: to.path }, clock) : await dialName(to, clock)
      pass(id, socket, 'path' in to)
      tell({ did: 'connect', id })
    },
    async listen({ id, at }) {
      const server = createServer(
        { pauseOnConnect: true, allowHalfOpen: true, noDelay: true },
        (socket) => {
          const { remoteAddress = '', remotePort = 0 } = socket
          pass(id, socket, !('host' in at))
          tell({ did: 'accept', id, host: remoteAddress.replace(/^::ffff:/, ''), port: remotePort })
        },
      )
      if (!('agent' in at)) return listen(id, server, at)
      const directory = mkdtempSync('/tmp/postern-')
      return listen(id, server, { path: join(directory, 'agent.sock') }, directory)
    },
    unlisten(id) {
      const listener = servers.get(id)
      servers.delete(id)
      listener?.server.close()
      if (listener?.made) rmSync(listener.made, { recursive: true, force: true })
    },
    closeAll() {
      for (const id of [...servers.keys()]) this.unlisten(id)
    },
  }
}

class Refused extends Error {}

async function dialName(
  { host, port }: { readonly host: string; readonly port: number },
  clock: Clock,
): Promise<Socket> {
  const found = isIP(host)
    ? [{ address: host }]
    : await lookup(host, { all: true, verbatim: true }).catch(() => [])
  if (found.length === 0) throw new Refused('the name has no address')
  const addresses = found
    .map(({ address }) => address)
    .filter((address) => !refusedAddress(address))
  if (addresses.length === 0) throw new Refused('this address is never forwarded to')
  let failure: unknown
  for (const address of addresses.slice(0, 8)) {
    try {
      return await dial({ host: address, port }, clock)
    } catch (e) {
      failure = e
    }
  }
  throw failure
}

function dial(
  to: { path: string } | { host: string; port: number },
  clock: Clock,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...to, allowHalfOpen: true })
    socket.pause()
    const late = clock.after(LIMITS.sshForwardDial.value, () =>
      socket.destroy(new Refused('timed out')),
    )
    socket.once('close', () => late.cancel())
    socket.once('error', reject)
    socket.once('connect', () => {
      late.cancel()
      socket.removeListener('error', reject).on('error', () => undefined)
      resolve(socket)
    })
  })
}

/** Why a forward failed, short enough and dull enough for the user. */
export function reasonText(e: unknown): string {
  if (e instanceof Refused) return e.message
  const code = (e as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : 'failed'
}

/**
 * A plain socket as a Transport, without frames of its own: for two processes of one machine that reach each other over a socket
 * which nobody else can open. Between machines a tunnel is a WebSocket inside TLS (transport-ws.ts).
 */
import type { Socket } from 'node:net'
import type { Clock } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import { giveSlab, slabFor } from '../core/tunnel/slabs.ts'
import type { Transport } from '../core/tunnel/transport.ts'
import { readInto } from './read-into.ts'

/** Milliseconds that what is buffered gets to go out after a close. */
const CLOSING = 2000

function copied(bufs: readonly Buffer[], into: Buffer): Buffer {
  let at = 0
  for (const buf of bufs) at += buf.copy(into, at)
  return into.subarray(0, at)
}

export function socketTransport(socket: Socket, clock: Clock): Transport {
  let cause: Error | undefined
  const transport: Transport = {
    ondata: undefined,
    ondrain: undefined,
    onend: undefined,
    get buffered() {
      return socket.writableLength
    },
    writev(bufs, bytes) {
      if (!socket.writable) return
      const slab = slabFor(bytes)
      socket.write(copied(bufs, slab ?? Buffer.allocUnsafe(bytes)), () => {
        if (slab) giveSlab(slab)
        transport.ondrain?.()
      })
    },
    close(err) {
      if (err) return void socket.destroy()
      socket.end()
      const limit = clock.after(CLOSING, () => socket.destroy())
      socket.once('close', () => limit.cancel())
    },
  }
  socket.on('error', (e) => (cause = e))
  socket.on('end', () => socket.end())
  socket.on('close', () =>
    transport.onend?.(cause && new AppError('ERR_TUNNEL_CLOSED', undefined, { cause })),
  )
  readInto(socket, (bytes) => transport.ondata?.(bytes))
  return transport
}

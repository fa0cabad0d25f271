/**
 * Bytes on their way from a stream to a socket: gathered until the end of the turn, because TLS hands out 16 KiB at a time and a write
 * call each is dear, in memory that is used again as soon as a write calls back: for sockets and files, not for streams that hand on.
 */
import type { Writable } from 'node:stream'
import { giveSlab, SLAB_BYTES, SLAB_LEAST, takeSlab } from './slabs.ts'

export interface Gather {
  /** The bytes may be good during the call only. Short ones with nothing before them are written at once. */
  push(bytes: Buffer): void
  /** Writes what is gathered. To be called before the socket is ended. */
  flush(): void
}

/** `taken`: so many bytes were written; `room` is what the socket's `write` answered. */
export function gatherInto(
  socket: Writable,
  taken: (room: boolean, bytes: number) => void,
): Gather {
  /** What is gathered, and how much of it is filled. */
  let slab: Buffer | undefined
  let filled = 0
  const flush = () => {
    const full = slab
    if (!full) return
    const n = filled
    slab = undefined
    filled = 0
    taken(
      socket.write(full.subarray(0, n), () => giveSlab(full)),
      n,
    )
  }
  return {
    flush,
    push(bytes) {
      if (!slab && bytes.length < SLAB_LEAST)
        return taken(socket.write(Buffer.from(bytes)), bytes.length)
      for (let at = 0; at < bytes.length;) {
        if (!slab) {
          slab = takeSlab()
          setImmediate(flush)
        }
        const n = bytes.copy(slab, filled, at)
        filled += n
        at += n
        if (filled === SLAB_BYTES) flush()
      }
    },
  }
}

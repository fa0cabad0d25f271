/**
 * Bytes of one stream that wait to be sent, cut into DATA frames. What is the caller's is copied into slabs; what was given
 * away is sent from where it is.
 */
import { DATA, FIN, header, HEADER_BYTES } from './frame.ts'
import { SLAB_BYTES, SLAB_LEAST, takeSlab } from './slabs.ts'

/** What goes out as one message, and the slabs that are free again once it was copied. */
export interface Batch {
  readonly bufs: Buffer[]
  readonly spent: Buffer[]
}

interface Piece {
  bytes: Buffer
  /** Given back once the piece is sent. */
  readonly slab?: Buffer | undefined
}

export class SendQueue {
  readonly #queue: Piece[] = []
  /** Index of the first piece not sent; shifting an array for each would be quadratic. */
  #head = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /** Ownership passes. */
  push(bytes: Buffer): void {
    this.#queue.push({ bytes })
    this.#bytes += bytes.length
  }

  /** The bytes stay the caller's. */
  copy(bytes: Buffer): void {
    this.#bytes += bytes.length
    for (let at = this.#fill(bytes); at < bytes.length;) {
      const left = bytes.length - at
      if (left < SLAB_LEAST)
        return void this.#queue.push({ bytes: Buffer.from(bytes.subarray(at)) })
      const slab = takeSlab()
      const n = bytes.copy(slab, 0, at, Math.min(bytes.length, at + SLAB_BYTES))
      this.#queue.push({ bytes: slab.subarray(0, n), slab })
      at += n
    }
  }

  /** Copies what fits behind the last piece, if that is a slab; the answer is how much. */
  #fill(bytes: Buffer): number {
    const last = this.#queue.at(-1)
    if (!last?.slab) return 0
    const start = last.bytes.byteOffset - last.slab.byteOffset
    const end = start + last.bytes.length
    const n = bytes.copy(last.slab, end)
    if (n > 0) last.bytes = last.slab.subarray(start, end + n)
    return n
  }

  /** The slabs are left to the garbage collector: a part of one may be in a batch that is not copied yet. */
  clear(): void {
    this.#queue.length = 0
    this.#head = 0
    this.#bytes = 0
  }

  /**
   * Appends one DATA frame of at most `max` payload bytes to `out`; the answer is its length. `last`: nothing comes after
   * what is queued, so the frame that empties the queue carries FIN.
   */
  take(out: Batch, id: number, max: number, last: boolean): number {
    const total = Math.min(max, this.#bytes)
    out.bufs.push(header(DATA, last && total === this.#bytes ? FIN : 0, id, total))
    let need = total
    while (need > 0) {
      const first = this.#queue[this.#head]
      if (first === undefined) break
      const { bytes, slab } = first
      if (bytes.length <= need) {
        out.bufs.push(bytes)
        if (slab) out.spent.push(slab)
        need -= bytes.length
        this.#head++
      } else {
        out.bufs.push(bytes.subarray(0, need))
        first.bytes = bytes.subarray(need)
        need = 0
      }
    }
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0
      this.#head = 0
    } else if (this.#head > 32) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
    this.#bytes -= total
    return total + HEADER_BYTES
  }
}

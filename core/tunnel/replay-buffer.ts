/**
 * Bytes that were written and not yet acknowledged, in order, with a cursor for what goes out next. They are copied into slabs,
 * which are given back when their bytes were acknowledged. Offsets count from the first byte of the stream.
 */
import { giveSlab, SLAB_BYTES, takeSlab } from './slabs.ts'

/** A copy shorter than this gets memory of its own length: nothing that is held pins more than four times its size. */
const SMALL = SLAB_BYTES / 4

interface Piece {
  bytes: Buffer
  /** The whole of the memory, when it is to be given back. */
  readonly slab?: Buffer
}
const GONE: Piece = { bytes: Buffer.alloc(0) }

export class ReplayBuffer {
  readonly #pieces: Piece[] = []
  /** Index of the first piece that is still held, and the offset of its first byte. */
  #head = 0
  #start = 0
  /** Index of the piece that holds the next byte to send, and the offset of its first byte. */
  #next = 0
  #nextStart = 0
  #cursor = 0
  #end = 0

  /** Offset behind the last byte written. */
  get end(): number {
    return this.#end
  }
  /** Offset of the next byte to send. */
  get cursor(): number {
    return this.#cursor
  }
  /** Bytes not sent yet. */
  get unsent(): number {
    return this.#end - this.#cursor
  }

  /** Copies the bytes. */
  push(bytes: Buffer): void {
    this.#end += bytes.length
    for (let at = this.#fill(bytes); at < bytes.length;) {
      if (bytes.length - at < SMALL)
        return void this.#pieces.push({ bytes: Buffer.from(bytes.subarray(at)) })
      const slab = takeSlab()
      const n = bytes.copy(slab, 0, at)
      this.#pieces.push({ bytes: slab.subarray(0, n), slab })
      at += n
    }
  }

  /** Copies what fits behind the last piece, if that is a slab of which not everything was sent. The answer is how much. */
  #fill(bytes: Buffer): number {
    const last = this.#pieces.at(-1)
    if (!last?.slab || this.#next === this.#pieces.length) return 0
    const used = last.bytes.length
    const n = bytes.copy(last.slab, used)
    last.bytes = last.slab.subarray(0, used + n)
    return n
  }

  /** The next bytes to send, at most `max`; undefined when all were sent. They are good until the next call of anything here. */
  take(max: number): Buffer | undefined {
    const piece = this.#pieces[this.#next]?.bytes
    if (!piece || max <= 0) return undefined
    const from = this.#cursor - this.#nextStart
    const n = Math.min(max, piece.length - from)
    this.#cursor += n
    if (from + n === piece.length) {
      this.#next++
      this.#nextStart += piece.length
    }
    return n === piece.length ? piece : piece.subarray(from, from + n)
  }

  /** Everything before `offset` was acknowledged. Not beyond the cursor. */
  free(offset: number): void {
    for (;;) {
      const piece = this.#pieces[this.#head]
      if (!piece || this.#head === this.#next || this.#start + piece.bytes.length > offset) break
      this.#start += piece.bytes.length
      if (piece.slab) giveSlab(piece.slab)
      this.#pieces[this.#head++] = GONE
    }
    if (this.#head > 64 || this.#head === this.#pieces.length) {
      this.#pieces.splice(0, this.#head)
      this.#next -= this.#head
      this.#head = 0
    }
  }

  /** Sends again from `offset`, which must still be held. */
  rewind(offset: number): void {
    this.#next = this.#head
    this.#nextStart = this.#start
    for (;;) {
      const piece = this.#pieces[this.#next]?.bytes
      if (!piece || this.#nextStart + piece.length > offset) break
      this.#nextStart += piece.length
      this.#next++
    }
    this.#cursor = offset
  }

  clear(): void {
    for (const { slab } of this.#pieces) if (slab) giveSlab(slab)
    this.#pieces.length = 0
    this.#head = this.#next = 0
    this.#start = this.#nextStart = this.#cursor = this.#end
  }
}

/**
 * Bytes that were written and not yet acknowledged, in order and uncopied, with a cursor for what goes out next. Offsets count
 * from the first byte of the stream.
 */

/** A piece as it may be kept: a copy when it would pin a buffer more than four times its size. */
function compact(piece: Buffer): Buffer {
  return piece.length * 4 < piece.buffer.byteLength ? Buffer.from(piece) : piece
}

export class ReplayBuffer {
  readonly #pieces: Buffer[] = []
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

  push(bytes: Buffer): void {
    this.#pieces.push(compact(bytes))
    this.#end += bytes.length
  }

  /** The next bytes to send, at most `max`; undefined when all were sent. */
  take(max: number): Buffer | undefined {
    const piece = this.#pieces[this.#next]
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
      if (!piece || this.#start + piece.length > offset || this.#head === this.#next) break
      this.#start += piece.length
      this.#head++
    }
    if (this.#head > 64 || this.#head === this.#pieces.length) {
      this.#pieces.splice(0, this.#head)
      this.#next -= this.#head
      this.#head = 0
    } else this.#forget()
  }

  /** Sends again from `offset`, which must still be held. */
  rewind(offset: number): void {
    this.#next = this.#head
    this.#nextStart = this.#start
    for (;;) {
      const piece = this.#pieces[this.#next]
      if (!piece || this.#nextStart + piece.length > offset) break
      this.#nextStart += piece.length
      this.#next++
    }
    this.#cursor = offset
  }

  clear(): void {
    this.#pieces.length = 0
    this.#head = this.#next = 0
    this.#start = this.#nextStart = this.#cursor = this.#end
  }

  /** What is before the head stays in the array for a while, but not its memory. */
  #forget(): void {
    for (let i = this.#head - 1; i >= 0 && this.#pieces[i] !== GONE; i--) this.#pieces[i] = GONE
  }
}

const GONE = Buffer.alloc(0)

/**
 * Bytes of a stream that its owner does not take yet. Small pieces are copied together: a peer that sends one byte per
 * frame must not make us keep one object, or one whole network buffer, per byte.
 */
const BLOCK = 16 * 1024

export class Inbox {
  readonly #pieces: Buffer[] = []
  /** The block being filled, and how full it is; it is the last of `#pieces` once closed. */
  #block: Buffer | undefined
  #filled = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /** Copies the piece. */
  push(piece: Buffer): void {
    this.#bytes += piece.length
    if (piece.length >= BLOCK / 4) {
      this.#close()
      this.#pieces.push(Buffer.from(piece))
      return
    }
    if (this.#block && this.#filled + piece.length > this.#block.length) this.#close()
    // A block starts small and doubles with what is held, so that an idle stream with one line waiting costs 256 bytes.
    this.#block ??= Buffer.allocUnsafeSlow(
      Math.min(BLOCK, Math.max(256, piece.length, this.#bytes)),
    )
    this.#filled += piece.copy(this.#block, this.#filled)
  }

  /** Everything held, in order; the inbox is empty afterwards. */
  drain(): Buffer[] {
    this.#close()
    this.#bytes = 0
    return this.#pieces.splice(0)
  }

  #close(): void {
    if (this.#block) this.#pieces.push(this.#block.subarray(0, this.#filled))
    this.#block = undefined
    this.#filled = 0
  }
}

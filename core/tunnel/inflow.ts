/**
 * The receiving half of a stream between the decoder and its owner: holds what arrives before start(), and joins tiny pieces
 * when the owner lags, so that a peer sending one byte per frame costs us bytes and not objects.
 */
import { Inbox } from './inbox.ts'

/** Delivered but not consumed pieces above which an average under PIECE_SMALL bytes is held back and joined. */
const PIECES_MAX = 1024
const PIECE_SMALL = 64

export class Inflow {
  /** The owner takes bytes that are good during the call only; otherwise it gets its own. */
  borrows = false
  readonly #deliver: (bytes: Buffer) => void
  /** What is held back; undefined while bytes pass straight through. */
  #inbox: Inbox | undefined = new Inbox()
  #state: 'waiting' | 'started' | 'closed' = 'waiting'
  /** Delivered, not yet consumed: bytes, and in how many pieces. */
  #bytes = 0
  #pieces = 0

  constructor(deliver: (bytes: Buffer) => void) {
    this.#deliver = deliver
  }

  get started(): boolean {
    return this.#state !== 'waiting'
  }
  get held(): number {
    return this.#inbox?.bytes ?? 0
  }

  start(): void {
    if (this.#state !== 'waiting') return
    this.#state = 'started'
    this.release()
  }

  /** `piece` is good during the call only. */
  push(piece: Buffer): void {
    if (this.#inbox) return this.#inbox.push(piece)
    this.#pass(this.borrows ? piece : Buffer.from(piece))
    if (this.#pieces > PIECES_MAX && this.#bytes < this.#pieces * PIECE_SMALL)
      this.#inbox = new Inbox()
  }

  /** The answer is what counts of `n`: never more than was delivered, whatever the owner says. */
  consumed(n: number): number {
    const before = this.#bytes
    const counted = Math.min(n, before)
    this.#bytes -= counted
    this.#pieces = before === 0 ? 0 : Math.ceil((this.#pieces * this.#bytes) / before)
    if (this.#state === 'started' && this.#pieces * 2 < PIECES_MAX) this.release()
    return counted
  }

  /** Hands over everything held. */
  release(): void {
    const held = this.#inbox?.drain() ?? []
    this.#inbox = undefined
    for (const piece of held) this.#pass(piece)
  }

  close(): void {
    this.#state = 'closed'
    this.#inbox = undefined
  }

  #pass(piece: Buffer): void {
    if (this.#state === 'closed') return
    this.#bytes += piece.length
    this.#pieces++
    this.#deliver(piece)
  }
}

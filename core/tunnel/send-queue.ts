/** Bytes of one stream that wait to be sent, cut into DATA frames without copying. */
import { DATA, FIN, header, HEADER_BYTES } from './frame.ts'

export class SendQueue {
  readonly #queue: Buffer[] = []
  /** Index of the first buffer not sent; shifting an array for each would be quadratic. */
  #head = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  push(bytes: Buffer): void {
    this.#queue.push(bytes)
    this.#bytes += bytes.length
  }

  clear(): void {
    this.#queue.length = 0
    this.#head = 0
    this.#bytes = 0
  }

  /**
   * Appends one DATA frame of at most `max` payload bytes to `out`; the answer is its payload's length. `last`: nothing
   * comes after what is queued, so the frame that empties the queue carries FIN.
   */
  take(out: Buffer[], id: number, max: number, last: boolean): number {
    const total = Math.min(max, this.#bytes)
    const at = out.length
    out.push(header(DATA, last && total === this.#bytes ? FIN : 0, id, total))
    let need = total
    while (need > 0) {
      const first = this.#queue[this.#head]
      if (first === undefined) break
      if (first.length <= need) {
        out.push(first)
        need -= first.length
        this.#head++
      } else {
        out.push(first.subarray(0, need))
        this.#queue[this.#head] = first.subarray(need)
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
    return out.length > at ? total + HEADER_BYTES : 0
  }
}

/**
 * The receiving half of a resumable stream: bytes that came before are passed over, new ones are handed on, and the peer is told
 * how much the owner took and how much more may come.
 */
import type { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { protocolError } from './codec.ts'
import { Inflow } from './inflow.ts'
import type { ReplayShare } from './replay-share.ts'
import { ackRecord } from './resume-codec.ts'

/** Taken bytes are acknowledged when they are this part of the window, and at the latest at so many. */
const ACK_PART = 4
const ACK_BYTES = 256 * 1024

export class ResumeInflow {
  readonly #share: ReplayShare
  readonly #in: Inflow
  readonly #onend: () => void
  /** The next new byte, the next one of this leg, what the owner took, what the peer was told that it took. */
  #received = 0
  #legAt = 0
  #consumed = 0
  #told = 0
  /** How far the peer may go. */
  #granted = LIMITS.replayMin.value
  /** DATA may come: a resumed leg says first where it begins. */
  #begun = false
  #state: 'open' | 'ended' | 'delivered' = 'open'

  constructor(share: ReplayShare, ondata: (bytes: Buffer) => void, onend: () => void) {
    this.#share = share
    this.#in = new Inflow(ondata)
    this.#onend = onend
  }

  get borrows(): boolean {
    return this.#in.borrows
  }
  set borrows(yes: boolean) {
    this.#in.borrows = yes
  }
  /** Offset of the byte that is expected next. */
  get next(): number {
    return this.#received
  }
  /** The owner has everything, the end too. */
  get delivered(): boolean {
    return this.#state === 'delivered'
  }

  begin(first: boolean): void {
    this.#begun = first
    this.#legAt = 0
  }

  start(): void {
    if (this.#in.started) return
    this.#in.start()
    this.#deliverEnd()
  }

  /** The answer is how many of the bytes are new. */
  piece(bytes: Buffer): number | AppError {
    if (!this.#begun) return protocolError('DATA before AT on a resumed stream')
    const known = this.#received - this.#legAt
    this.#legAt += bytes.length
    if (this.#legAt > this.#granted) return protocolError('more than the window of the stream')
    if (known >= bytes.length) return 0
    if (this.#state !== 'open') return protocolError('DATA after the end of the stream')
    const fresh = known > 0 ? bytes.subarray(known) : bytes
    this.#received += fresh.length
    this.#in.push(fresh)
    return fresh.length
  }

  fin(): AppError | undefined {
    if (!this.#begun) return protocolError('FIN before AT on a resumed stream')
    const known = this.#state !== 'open'
    if (this.#legAt !== this.#received - (known ? 1 : 0))
      return protocolError('FIN at another place than before')
    this.#legAt += 1
    if (known) return undefined
    this.#received += 1
    this.#state = 'ended'
    this.#deliverEnd()
    return undefined
  }

  at(offset: number): AppError | undefined {
    if (this.#begun || offset > this.#received) return protocolError(`AT ${offset} out of place`)
    this.#begun = true
    this.#legAt = offset
    return undefined
  }

  /** The owner took `n` bytes. When the peer is to be told. */
  consumed(n: number): 'now' | 'later' | 'never' {
    // With the end the peer was told that everything is taken.
    if (this.delivered) return 'never'
    this.#consumed += this.#in.consumed(n)
    const owed = this.#consumed - this.#told
    if (owed === 0) return 'never'
    const part = this.#share.window / ACK_PART
    if (owed < Math.min(ACK_BYTES, part)) return 'later'
    // Only who moves bytes and keeps up gets a larger window: it is memory when the reader stops.
    if (this.#received - this.#consumed <= part) this.#share.growWindow()
    return 'now'
  }

  /** What the peer is to be told now. */
  ack(): Buffer {
    const end = this.delivered ? 1 : 0
    this.#told = this.#consumed
    this.#granted = Math.max(this.#granted, this.#consumed + this.#share.window)
    return ackRecord(this.#consumed + end, this.#granted - this.#consumed - end)
  }

  close(): void {
    this.#in.close()
  }

  #deliverEnd(): void {
    if (this.#state !== 'ended' || !this.#in.started) return
    this.#in.release()
    this.#state = 'delivered'
    // With the end the owner has everything: what it still holds is its own, and nothing more will come to be held back.
    this.#consumed = this.#received - 1
    this.#onend()
  }
}

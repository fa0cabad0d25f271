/** The sending half of a resumable stream: what was written is kept until the peer took it, and sent again on the next leg. */
import type { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { protocolError } from './codec.ts'
import { QUEUE_HIGH } from './mux-stream.ts'
import { ReplayBuffer } from './replay-buffer.ts'
import type { ReplayShare } from './replay-share.ts'
import { atRecord, dataHeader, finRecord, RECORD_MAX } from './resume-codec.ts'
import type { TunnelStream } from './stream.ts'

export class ResumeOutflow {
  readonly #share: ReplayShare
  readonly #replay = new ReplayBuffer()
  /** How far the peer lets us go, what it took, and what was ever sent, our end included. */
  #limit = LIMITS.replayMin.value
  #acked = 0
  #high = 0
  #state: 'open' | 'ending' | 'sent' | 'acked' = 'open'
  #legRoom = true
  #wantsDrain = false

  constructor(share: ReplayShare) {
    this.#share = share
  }

  get open(): boolean {
    return this.#state === 'open'
  }
  /** Our end was sent, and the peer has everything before it. */
  get acked(): boolean {
    return this.#state === 'acked'
  }

  /** Copies the bytes. False: wait for `drained`. */
  write(bytes: Buffer, leg: TunnelStream | undefined): boolean {
    if (bytes.length > 0) {
      this.#replay.push(bytes)
      this.pump(leg)
      if (this.#replay.unsent >= QUEUE_HIGH) this.#wantsDrain = true
    }
    return !this.#wantsDrain
  }

  /** True, once: there is room again after `write` said that there is none. */
  drained(): boolean {
    if (!this.#wantsDrain || this.#replay.unsent * 2 >= QUEUE_HIGH) return false
    this.#wantsDrain = false
    return true
  }

  end(): void {
    if (this.#state === 'open') this.#state = 'ending'
  }

  /** The leg takes bytes again. */
  room(): void {
    this.#legRoom = true
  }

  /** A leg begins. `peerNext`: the offset that the peer expects. The answer is the violation, if it cannot be that. */
  begin(leg: TunnelStream, peerNext: number, first: boolean): AppError | undefined {
    if (peerNext > this.#high) return protocolError('the peer expects bytes that were never sent')
    this.#legRoom = true
    if (this.#state === 'sent') this.#state = 'ending'
    if (!this.acked)
      this.#replay.rewind(Math.min(Math.max(this.#acked, peerNext), this.#replay.end))
    // Behind our end there is nothing to send again but the end itself.
    if (!first) leg.write(atRecord(this.#replay.cursor + (this.acked ? 1 : 0)))
    return undefined
  }

  pump(leg: TunnelStream | undefined): void {
    const replay = this.#replay
    if (!leg) return
    while (this.#legRoom && replay.unsent > 0) {
      const held = replay.cursor - this.#acked
      const room = Math.min(this.#limit - replay.cursor, this.#share.allow(held + 1) - held)
      const piece = replay.take(Math.min(room, RECORD_MAX))
      if (!piece) return
      leg.write(dataHeader(piece.length))
      // Copied: a leg that broke may hold on to what it was given when the memory has long been somebody else's.
      this.#legRoom = leg.writeCopy(piece)
      if (replay.cursor > this.#high) this.#high = replay.cursor
    }
    if (this.#state !== 'ending' || replay.unsent > 0) return
    this.#state = 'sent'
    this.#high = replay.end + 1
    leg.write(finRecord())
  }

  /** The peer took everything before `next` and lets us go on to `next + window`. */
  ack(next: number, window: number): AppError | undefined {
    if (next > this.#high) return protocolError('an acknowledgement of what was never sent')
    if (next < this.#acked) return undefined
    this.#limit = Math.max(this.#limit, next + window)
    this.#acked = next
    this.#replay.free(Math.min(next, this.#replay.end))
    if (next > this.#replay.end) this.#state = 'acked'
    return undefined
  }

  close(): void {
    this.#replay.clear()
  }
}

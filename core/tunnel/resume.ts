/**
 * A stream that outlives the connections it runs over (SPEC.md section 9): bytes are numbered, kept until the other end has
 * taken them, and sent again over the next leg. To its owner it is a `TunnelStream` like any other.
 *
 *   attached ──leg broke──► broken ──attach()──► attached          at most `resumeWindow` broken
 *   attached ──both ends acknowledged──► ended ──leg finished──► closed
 *   any ──reset by either end, window over──► closed
 *
 * A leg is always read, whatever the owner does: acknowledgements travel in it and must not wait behind bytes that nobody
 * takes, or two ends that both write would wait for each other for ever. What holds a fast sender back is the window in them.
 */
import { AppError, toAppError, type ErrorCode } from '../errors.ts'
import type { Clock, Timer } from '../clock.ts'
import { LIMITS } from '../limits.ts'
import { protocolError } from './codec.ts'
import { Inflow } from './inflow.ts'
import { QUEUE_HIGH } from './mux-stream.ts'
import { ReplayBuffer } from './replay-buffer.ts'
import {
  ackRecord,
  atRecord,
  dataHeader,
  finRecord,
  RECORD_MAX,
  RecordDecoder,
  type RecordSink,
} from './resume-codec.ts'
import { createReplayShare, type ReplayShare } from './replay-share.ts'
import type { TunnelStream } from './stream.ts'
import type { WindowBudget } from './window-budget.ts'

/** What says that a leg broke, and not that one of the ends wants the stream to be over. */
const BROKEN_LEG: ReadonlySet<ErrorCode> = new Set(['ERR_TUNNEL_CLOSED', 'ERR_UNREACHABLE'])
/** Taken bytes are acknowledged when they are this part of the window, and at the latest at so many. */
const ACK_PART = 4
const ACK_BYTES = 256 * 1024

export interface ResumableOptions {
  readonly clock: Clock
  /** What unacknowledged bytes may hold in this process. */
  readonly budget: WindowBudget
  /** The leg broke: whoever can make another one has `resumeWindow` to do so. */
  onbroken?: ((err: AppError | undefined) => void) | undefined
  /** Both directions are over and acknowledged; `clean`: the other end knows it too. */
  onsettled?: ((clean: boolean) => void) | undefined
  /** It is over before that: reset by either end, or not resumed in time. */
  onfailed?: (() => void) | undefined
}

export interface Attachment {
  /** What the other end expects next; 0 on the first leg. */
  readonly peerNext: number
  /** Goes out before anything else. */
  readonly proof?: Buffer | undefined
  /** What was read from the leg already. */
  readonly early?: Buffer | undefined
}

export class ResumableStream implements TunnelStream, RecordSink {
  readonly payload: Buffer = Buffer.alloc(0)
  bytesIn = 0
  bytesOut = 0
  ondata: ((bytes: Buffer) => void) | undefined
  onend: (() => void) | undefined
  ondrain: (() => void) | undefined
  onfinish: (() => void) | undefined
  onclose: ((err?: AppError) => void) | undefined

  readonly #options: ResumableOptions
  readonly #share: ReplayShare
  readonly #replay = new ReplayBuffer()
  readonly #in = new Inflow((bytes) => this.#call(() => this.ondata?.(bytes)))
  #state: 'attached' | 'broken' | 'ended' | 'closed' = 'broken'
  #leg: TunnelStream | undefined
  #legs = 0
  #legRoom = true
  #window: Timer | undefined

  /** Sending: how far the peer lets us go, what was ever sent, our end. */
  #limit = LIMITS.replayMin.value
  #acked = 0
  #high = 0
  #sending: 'open' | 'ending' | 'sent' | 'acked' = 'open'
  #wantsDrain = false

  /** Receiving: the next new byte, the next one of this leg, what the owner took, what the peer was told. */
  #received = 0
  #legAt = 0
  #begun = false
  #consumed = 0
  #told = 0
  #granted = LIMITS.replayMin.value
  #receiving: 'open' | 'ended' | 'delivered' = 'open'
  #ackTimer: Timer | undefined

  constructor(options: ResumableOptions) {
    this.#options = options
    this.#share = createReplayShare(options.budget)
  }

  /** That of the leg in use. */
  get id(): number {
    return this.#leg?.id ?? 0
  }
  get state(): 'open' | 'closed' {
    return this.#state === 'closed' ? 'closed' : 'open'
  }
  /** Offset of the byte that this end expects next. */
  get next(): number {
    return this.#received
  }
  get broken(): boolean {
    return this.#state === 'broken'
  }

  accept(): void {
    /* Its first leg was accepted before it was made. */
  }
  refuse(code: ErrorCode, message?: string): void {
    this.reset(code, message)
  }

  /** Goes on over this leg; the one before is dropped. The leg must be open. */
  attach(leg: TunnelStream, attachment: Attachment): void {
    if (this.#state === 'closed' && this.#sending !== 'acked') return leg.reset()
    if (attachment.peerNext > this.#high)
      return this.#violated(protocolError('the peer expects bytes that were never sent'), leg)
    this.#drop()
    const first = this.#legs++ === 0
    this.#leg = leg
    this.#legRoom = true
    this.#window?.cancel()
    this.#begun = first
    this.#legAt = 0
    if (this.#state === 'broken') this.#state = 'attached'
    const from = Math.max(this.#acked, attachment.peerNext)
    if (this.#sending === 'sent') this.#sending = 'ending'
    if (this.#sending !== 'acked') this.#replay.rewind(Math.min(from, this.#replay.end))
    if (attachment.proof) leg.write(attachment.proof)
    // Behind our end there is nothing to send again but the end itself.
    if (!first) leg.write(atRecord(this.#replay.cursor + (this.#sending === 'acked' ? 1 : 0)))
    this.#listen(leg, attachment.early)
    this.#tell()
    this.#pump()
    if (this.#state === 'closed' || this.#state === 'ended') leg.end()
  }

  start(): void {
    if (this.#in.started) return
    this.#in.start()
    this.#deliverEnd()
  }

  write(bytes: Buffer): boolean {
    if (this.state === 'closed' || this.#sending !== 'open') return false
    if (bytes.length === 0) return !this.#wantsDrain
    this.bytesOut += bytes.length
    this.#replay.push(bytes)
    this.#pump()
    if (this.#replay.unsent >= QUEUE_HIGH) this.#wantsDrain = true
    return !this.#wantsDrain
  }

  end(): void {
    if (this.state === 'closed' || this.#sending !== 'open') return
    this.#sending = 'ending'
    this.#pump()
  }

  reset(code: ErrorCode = 'ERR_STREAM_RESET', reason?: string): void {
    if (this.state === 'closed') return
    const said = BROKEN_LEG.has(code) ? 'ERR_STREAM_RESET' : code
    const leg = this.#leg
    this.#close(new AppError(code, reason))
    leg?.reset(said, reason)
  }

  consumed(n: number): void {
    if (this.state === 'closed' || this.#receiving === 'delivered') return
    this.#consumed += this.#in.consumed(n)
    const owed = this.#consumed - this.#told
    if (owed === 0) return
    const { window } = this.#share
    if (owed >= Math.min(ACK_BYTES, window / ACK_PART)) {
      // Only who moves bytes and keeps up gets a larger window: it is memory when the reader stops.
      if (this.#received - this.#consumed <= window / ACK_PART) this.#share.growWindow()
      this.#tell()
    } else
      this.#ackTimer ??= this.#options.clock.after(LIMITS.resumeAckDelay.value, () => this.#tell())
  }

  // ── records of the peer ──

  piece(bytes: Buffer): AppError | undefined {
    if (!this.#begun) return protocolError('DATA before AT on a resumed stream')
    const from = this.#legAt
    this.#legAt += bytes.length
    if (this.#legAt > this.#granted) return protocolError('more than the window of the stream')
    const known = this.#received - from
    if (known >= bytes.length) return undefined
    if (this.#receiving !== 'open') return protocolError('DATA after the end of the stream')
    const fresh = known > 0 ? bytes.subarray(known) : bytes
    this.#received += fresh.length
    this.bytesIn += fresh.length
    this.#in.push(fresh)
    return undefined
  }

  ack(next: number, window: number): AppError | undefined {
    if (next > this.#high) return protocolError('an acknowledgement of what was never sent')
    if (next < this.#acked) return undefined
    this.#limit = Math.max(this.#limit, Math.min(next + window, Number.MAX_SAFE_INTEGER))
    this.#acked = next
    this.#replay.free(Math.min(next, this.#replay.end))
    if (this.#sending === 'sent' && next > this.#replay.end) {
      this.#sending = 'acked'
      this.#call(this.onfinish)
      this.#settle()
    }
    this.#pump()
    return undefined
  }

  fin(): AppError | undefined {
    if (!this.#begun) return protocolError('FIN before AT on a resumed stream')
    const known = this.#receiving !== 'open'
    if (this.#legAt !== this.#received - (known ? 1 : 0))
      return protocolError('FIN at another place than before')
    this.#legAt += 1
    if (known) return undefined
    this.#received += 1
    this.#receiving = 'ended'
    this.#deliverEnd()
    return undefined
  }

  at(offset: number): AppError | undefined {
    if (this.#begun || offset > this.#received) return protocolError(`AT ${offset} out of place`)
    this.#begun = true
    this.#legAt = offset
    return undefined
  }

  // ── inside ──

  #listen(leg: TunnelStream, early: Buffer | undefined): void {
    const decoder = new RecordDecoder(this)
    const mine = (): boolean => this.#leg === leg
    const push = (bytes: Buffer): void => {
      const violation = mine() ? decoder.push(bytes) : undefined
      if (violation && mine()) this.#violated(violation, leg)
    }
    leg.ondata = (bytes) => {
      leg.consumed(bytes.length)
      push(bytes)
    }
    leg.ondrain = () => {
      if (!mine()) return
      this.#legRoom = true
      this.#pump()
    }
    leg.onend = () => {
      // Whoever ends a leg before the stream is over did so in the middle.
      if (mine() && this.#state === 'attached') leg.reset('ERR_TUNNEL_CLOSED')
    }
    leg.onfinish = () => {
      if (mine() && this.#state === 'ended') this.#close(undefined)
    }
    leg.onclose = (err) => {
      if (mine()) this.#lost(err)
    }
    if (early && early.length > 0) push(early)
    if (leg.state === 'closed') leg.onclose(new AppError('ERR_TUNNEL_CLOSED'))
    else leg.start()
  }

  #drop(): void {
    const old = this.#leg
    this.#leg = undefined
    old?.reset('ERR_TUNNEL_CLOSED')
  }

  #lost(err: AppError | undefined): void {
    this.#leg = undefined
    if (this.#state === 'ended') this.#close(undefined)
    if (this.#state === 'closed') {
      if (this.#sending === 'acked') this.#options.onsettled?.(err === undefined)
      return
    }
    if (err && !BROKEN_LEG.has(err.code)) return this.#close(err)
    this.#state = 'broken'
    this.#window?.cancel()
    this.#window = this.#options.clock.after(LIMITS.resumeWindow.value, () =>
      this.#close(new AppError('ERR_TUNNEL_CLOSED', 'The connection could not be resumed in time')),
    )
    this.#options.onbroken?.(err)
  }

  #violated(violation: AppError, leg: TunnelStream): void {
    const current = this.#leg
    this.#close(violation)
    current?.reset(violation.code)
    leg.reset(violation.code)
  }

  #pump(): void {
    const leg = this.#leg
    if (leg && (this.#state === 'attached' || this.#state === 'ended')) this.#send(leg)
    if (this.#wantsDrain && this.#replay.unsent * 2 < QUEUE_HIGH) {
      this.#wantsDrain = false
      this.#call(this.ondrain)
    }
  }

  #send(leg: TunnelStream): void {
    const replay = this.#replay
    while (this.#legRoom && replay.unsent > 0) {
      const held = replay.cursor - this.#acked
      const room = Math.min(this.#limit - replay.cursor, this.#share.allow(held + 1) - held)
      const piece = replay.take(Math.min(room, RECORD_MAX))
      if (!piece) return
      leg.write(dataHeader(piece.length))
      this.#legRoom = leg.write(piece)
      if (replay.cursor > this.#high) this.#high = replay.cursor
    }
    if (this.#sending !== 'ending' || replay.unsent > 0) return
    this.#sending = 'sent'
    this.#high = replay.end + 1
    leg.write(finRecord())
  }

  /** Acknowledges what the owner took, our peer's end included once everything before it is taken. */
  #tell(): void {
    this.#ackTimer?.cancel()
    this.#ackTimer = undefined
    if (!this.#leg) return
    const end = this.#receiving === 'delivered' ? 1 : 0
    this.#told = this.#consumed
    this.#granted = Math.max(this.#granted, this.#consumed + this.#share.window)
    this.#leg.write(ackRecord(this.#consumed + end, this.#granted - this.#consumed - end))
  }

  #deliverEnd(): void {
    if (this.#receiving !== 'ended' || !this.#in.started) return
    this.#in.release()
    this.#receiving = 'delivered'
    // With the end the owner has everything: what it still holds is its own, and nothing more will come to be held back.
    this.#consumed = this.#received - 1
    this.#call(this.onend)
    this.#tell()
    this.#settle()
  }

  /** Over when both ends have everything: ours is acknowledged, theirs was taken and they were told. */
  #settle(): void {
    if (this.#state !== 'attached' || this.#sending !== 'acked') return
    if (this.#receiving !== 'delivered') return
    this.#state = 'ended'
    this.#leg?.end()
  }

  #close(err: AppError | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#window?.cancel()
    this.#ackTimer?.cancel()
    this.#replay.clear()
    this.#in.close()
    this.#share.release()
    if (err) this.#options.onfailed?.()
    this.onclose?.(err)
  }

  #call(fn: (() => void) | undefined): void {
    try {
      fn?.()
    } catch (e) {
      this.reset('ERR_INTERNAL', toAppError(e).message)
    }
  }
}

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
import { createReplayShare, type ReplayShare } from './replay-share.ts'
import { RecordDecoder, type RecordSink } from './resume-codec.ts'
import { ResumeInflow } from './resume-inflow.ts'
import { ResumeOutflow } from './resume-outflow.ts'
import type { TunnelStream } from './stream.ts'
import type { WindowBudget } from './window-budget.ts'

/** What says that a leg broke, and not that one of the ends wants the stream to be over. */
const BROKEN_LEG: ReadonlySet<ErrorCode> = new Set(['ERR_TUNNEL_CLOSED', 'ERR_UNREACHABLE'])

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
  error: AppError | undefined
  bytesIn = 0
  bytesOut = 0
  ondata: ((bytes: Buffer) => void) | undefined
  onend: (() => void) | undefined
  ondrain: (() => void) | undefined
  onfinish: (() => void) | undefined
  onclose: ((err?: AppError) => void) | undefined

  readonly #options: ResumableOptions
  readonly #share: ReplayShare
  readonly #out: ResumeOutflow
  readonly #in: ResumeInflow
  #state: 'attached' | 'broken' | 'ended' | 'closed' = 'broken'
  #leg: TunnelStream | undefined
  #legs = 0
  #window: Timer | undefined
  #ackTimer: Timer | undefined

  constructor(options: ResumableOptions) {
    this.#options = options
    this.#share = createReplayShare(options.budget)
    this.#out = new ResumeOutflow(this.#share)
    this.#in = new ResumeInflow(
      this.#share,
      (bytes) => this.#call(() => this.ondata?.(bytes)),
      () => this.#peerEnded(),
    )
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
    return this.#in.next
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
  attach(leg: TunnelStream, { peerNext, proof, early }: Attachment): void {
    // A stream that ended in order tells its peer so again, which may not have heard it.
    if (this.#state === 'closed' && !this.#out.acked) return leg.reset()
    const old = this.#leg
    this.#leg = undefined
    old?.reset('ERR_TUNNEL_CLOSED')
    this.#window?.cancel()
    const first = this.#legs++ === 0
    this.#in.begin(first)
    if (proof) leg.write(proof)
    const violation = this.#out.begin(leg, peerNext, first)
    if (violation) return this.#violated(violation, leg)
    this.#leg = leg
    if (this.#state === 'broken') this.#state = 'attached'
    this.#listen(leg, early)
    this.#tell()
    this.#pump()
    if (this.#state === 'closed' || this.#state === 'ended') leg.end()
  }

  get borrows(): boolean {
    return this.#in.borrows
  }
  set borrows(yes: boolean) {
    this.#in.borrows = yes
  }

  start(): void {
    this.#in.start()
  }

  write(bytes: Buffer): boolean {
    return this.writeCopy(bytes)
  }

  /** Copied in any case: what is kept to be sent again lies in memory that is used over and over. */
  writeCopy(bytes: Buffer): boolean {
    if (this.state === 'closed' || !this.#out.open) return false
    this.bytesOut += bytes.length
    return this.#out.write(bytes, this.#leg)
  }

  end(): void {
    if (this.state === 'closed' || !this.#out.open) return
    this.#out.end()
    this.#pump()
  }

  reset(code: ErrorCode = 'ERR_STREAM_RESET', reason?: string): void {
    if (this.state === 'closed') return
    const leg = this.#leg
    this.#close(new AppError(code, reason))
    // The peer must not take it for a broken leg.
    leg?.reset(BROKEN_LEG.has(code) ? 'ERR_STREAM_RESET' : code, reason)
  }

  consumed(n: number): void {
    if (this.state === 'closed') return
    const tell = this.#in.consumed(n)
    if (tell === 'now') this.#tell()
    else if (tell === 'later')
      this.#ackTimer ??= this.#options.clock.after(LIMITS.resumeAckDelay.value, () => this.#tell())
  }

  // ── records of the peer ──

  piece(bytes: Buffer): AppError | undefined {
    const fresh = this.#in.piece(bytes)
    if (typeof fresh !== 'number') return fresh
    this.bytesIn += fresh
    return undefined
  }

  ack(next: number, window: number): AppError | undefined {
    const before = this.#out.acked
    const violation = this.#out.ack(next, window)
    if (violation) return violation
    if (this.#out.acked && !before) {
      this.#call(this.onfinish)
      this.#settle()
    }
    this.#pump()
    return undefined
  }

  fin(): AppError | undefined {
    return this.#in.fin()
  }

  at(offset: number): AppError | undefined {
    return this.#in.at(offset)
  }

  // ── inside ──

  #listen(leg: TunnelStream, early: Buffer | undefined): void {
    const decoder = new RecordDecoder(this)
    const mine = (): boolean => this.#leg === leg
    const push = (bytes: Buffer): void => {
      const violation = mine() ? decoder.push(bytes) : undefined
      if (violation && mine()) this.#violated(violation, leg)
    }
    leg.borrows = true
    leg.ondata = (bytes) => {
      leg.consumed(bytes.length)
      push(bytes)
    }
    leg.ondrain = () => {
      if (!mine()) return
      this.#out.room()
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

  #lost(err: AppError | undefined): void {
    this.#leg = undefined
    if (this.#state === 'ended') this.#close(undefined)
    if (this.#state === 'closed') {
      if (this.#out.acked) this.#options.onsettled?.(err === undefined)
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
    this.#out.pump(this.#leg)
    if (this.#out.drained()) this.#call(this.ondrain)
  }

  /** Acknowledges what the owner took, our peer's end included once everything before it is taken. */
  #tell(): void {
    this.#ackTimer?.cancel()
    this.#ackTimer = undefined
    this.#leg?.write(this.#in.ack())
  }

  #peerEnded(): void {
    this.#call(this.onend)
    this.#tell()
    this.#settle()
  }

  /** Over when both ends have everything: ours is acknowledged, theirs was taken and they were told. */
  #settle(): void {
    if (this.#state !== 'attached' || !this.#out.acked || !this.#in.delivered) return
    this.#state = 'ended'
    this.#leg?.end()
  }

  #close(err: AppError | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.error = err
    this.#window?.cancel()
    this.#ackTimer?.cancel()
    this.#out.close()
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

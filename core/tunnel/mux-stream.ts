/**
 * The stream of a session: its states, its two half-closes, credit both ways. It knows frames and its host, no transport.
 *
 *   opening ──OPENED──► open ──both FIN──► closed        (we asked)
 *   offered ──accept──► open ──both FIN──► closed        (the peer asked)
 *   any ──RESET, refusal, end of the tunnel──► closed
 */
import { AppError, toAppError, type ErrorCode } from '../errors.ts'
import type { Clock, Timer } from '../clock.ts'
import { header, MAX_CREDIT, OPENED, RESET, WINDOW, withPayload } from './frame.ts'
import { protocolError } from './codec.ts'
import { Inflow } from './inflow.ts'
import type { ReceiveWindows } from './receive-windows.ts'
import { decodeReset, encodeReset } from './reset-reason.ts'
import { SendQueue, type Batch } from './send-queue.ts'
import type { StreamState, TunnelStream } from './stream.ts'

/** `write` answers false from here on, and `ondrain` comes when half of it is gone. */
export const QUEUE_HIGH = 128 * 1024
/** Credit is given back in such parts. What is just short of one can stay with the receiver for good: of halves, half the window. */
const GRANT_PART = 4
/** What a stream needs from its session. */
export interface StreamHost {
  readonly clock: Clock
  readonly windows: ReceiveWindows
  readonly rtt: number
  readonly resetPayload: number
  send(...frame: readonly Buffer[]): void
  /** The stream has something to send and the credit for it. */
  ready(stream: MuxStream): void
  stalled(): void
  answered(stream: MuxStream): void
  gone(stream: MuxStream): void
  callbackFailed(e: unknown): void
}

export class MuxStream implements TunnelStream {
  readonly id: number
  payload: Buffer
  state: StreamState
  error: AppError | undefined
  bytesIn = 0
  bytesOut = 0
  ondata: ((bytes: Buffer) => void) | undefined
  onend: (() => void) | undefined
  ondrain: (() => void) | undefined
  onfinish: (() => void) | undefined
  onclose: ((err?: AppError) => void) | undefined
  /** The opener's promise waits for this; called once with the refusal or without. */
  onanswer: ((err?: AppError) => void) | undefined
  /** Runs out when the stream is not answered in time. */
  deadline: Timer | undefined
  /** In the session's list of streams with something to send. */
  queued = false

  readonly #host: StreamHost
  readonly #out = new SendQueue()
  readonly #in: Inflow
  #sending: 'open' | 'ending' | 'ended' = 'open'
  #receiving: 'open' | 'ended' = 'open'
  #sendCredit = 0
  #wantsDrain = false
  #window: number
  #recvCredit: number
  /** Consumed, not yet granted again. */
  #owed = 0
  #grantedAt = 0

  constructor(host: StreamHost, id: number, state: 'opening' | 'offered', window: number) {
    this.#host = host
    this.id = id
    this.state = state
    this.payload = EMPTY
    this.#window = window
    this.#recvCredit = window
    this.#in = new Inflow((bytes) => this.#call(() => this.ondata?.(bytes)))
    // The opener's OPEN went out just before; who was asked grants with the answer.
    if (state === 'opening') host.send(header(WINDOW, 0, id, window))
  }

  /** Queued bytes: the session sends short queues first. */
  get pending(): number {
    return this.#out.bytes
  }

  get borrows(): boolean {
    return this.#in.borrows
  }
  set borrows(yes: boolean) {
    this.#in.borrows = yes
  }

  accept(payload: Buffer = EMPTY): void {
    if (this.state !== 'offered') return
    this.state = 'open'
    this.deadline?.cancel()
    this.#host.answered(this)
    this.#host.send(...withPayload(OPENED, this.id, payload))
    this.#host.send(header(WINDOW, 0, this.id, this.#window))
    this.#wake()
  }

  refuse(code: ErrorCode, message?: string): void {
    if (this.state === 'offered') this.reset(code, message)
  }

  start(): void {
    if (this.#in.started) return
    this.#in.start()
    if (this.#receiving === 'open' || this.state === 'closed') return
    this.#call(this.onend)
    this.#finishIfDone()
  }

  write(bytes: Buffer): boolean {
    return this.#write(bytes, false)
  }
  writeCopy(bytes: Buffer): boolean {
    return this.#write(bytes, true)
  }

  #write(bytes: Buffer, borrowed: boolean): boolean {
    if (this.state !== 'open' || this.#sending !== 'open') return false
    if (bytes.length === 0) return !this.#wantsDrain
    this.bytesOut += bytes.length
    if (borrowed) this.#out.copy(bytes)
    else this.#out.push(bytes)
    this.#wake()
    if (this.#out.bytes >= QUEUE_HIGH) this.#wantsDrain = true
    return !this.#wantsDrain
  }

  end(): void {
    if (this.state === 'closed' || this.#sending !== 'open') return
    this.#sending = 'ending'
    this.#wake()
  }

  reset(code: ErrorCode = 'ERR_STREAM_RESET', reason?: string): void {
    if (this.state === 'closed') return
    const payload = encodeReset(code, reason, this.#host.resetPayload)
    this.#host.send(...withPayload(RESET, this.id, payload))
    this.fail(new AppError(code, reason))
  }

  consumed(n: number): void {
    if (this.state === 'closed') return
    this.#owed += this.#in.consumed(n)
    if (this.#owed * GRANT_PART >= this.#window && this.#receiving === 'open') this.#grant()
  }

  // ── called by the session ──

  /** OPENED arrived. */
  opened(payload: Buffer): AppError | undefined {
    if (this.state !== 'opening') return protocolError(`OPENED twice on stream ${this.id}`)
    this.state = 'open'
    this.payload = payload
    this.deadline?.cancel()
    this.#host.answered(this)
    this.#wake()
    this.#answer()
    return undefined
  }

  credit(n: number): AppError | undefined {
    if (this.#sendCredit + n > MAX_CREDIT)
      return protocolError(`credit overflow on stream ${this.id}`)
    this.#sendCredit += n
    this.#wake()
    return undefined
  }

  /** May `length` bytes of DATA come now? */
  expect(length: number): AppError | undefined {
    if (this.state === 'opening' || this.state === 'offered')
      return protocolError(`DATA before OPENED on stream ${this.id}`)
    if (this.#receiving === 'ended') return protocolError(`DATA after FIN on stream ${this.id}`)
    if (length > this.#recvCredit) return protocolError(`window overrun on stream ${this.id}`)
    this.#recvCredit -= length
    return undefined
  }

  receive(piece: Buffer): void {
    if (this.state === 'closed') return
    this.bytesIn += piece.length
    this.#in.push(piece)
  }

  ended(): void {
    if (this.state === 'closed') return
    this.#receiving = 'ended'
    if (this.#in.started) {
      this.#in.release()
      this.#call(this.onend)
    }
    this.#finishIfDone()
  }

  wasReset(payload: Buffer): undefined {
    this.fail(decodeReset(payload))
  }

  /** Appends one frame to `out`; the answer is its length in bytes, header included. */
  take(out: Batch, max: number): number {
    if (this.state !== 'open' || this.#sending === 'ended') return 0
    const ending = this.#sending === 'ending'
    const n = Math.min(max, this.#sendCredit, this.#out.bytes)
    if (n === 0 && !(ending && this.#out.bytes === 0)) return 0
    const written = this.#out.take(out, this.id, n, ending)
    this.#sendCredit -= n
    if (ending && this.#out.bytes === 0) {
      this.#sending = 'ended'
      this.#call(this.onfinish)
    }
    if (this.#out.bytes > 0 && this.#sendCredit === 0) this.#host.stalled()
    this.#wake()
    if (this.#wantsDrain && this.#out.bytes * 2 < QUEUE_HIGH) {
      this.#wantsDrain = false
      this.#call(this.ondrain)
    }
    this.#finishIfDone()
    return written
  }

  /** The stream is over because of an error; the peer was told or is gone. */
  fail(err: AppError): void {
    if (this.state === 'closed') return
    this.#close(err)
  }

  #grant(): void {
    const host = this.#host
    const now = host.clock.monotonic()
    // A quarter within a round trip: the window is the limit, or nearly. Infinity, an unknown round trip, grows nothing.
    if (Number.isFinite(host.rtt) && now - this.#grantedAt <= host.rtt) {
      const added = host.windows.grow(this.#window)
      this.#window += added
      this.#owed += added
    }
    this.#grantedAt = now
    this.#recvCredit += this.#owed
    host.send(header(WINDOW, 0, this.id, this.#owed))
    this.#owed = 0
  }

  #wake(): void {
    if (this.state !== 'open' || this.#sending === 'ended') return
    if (this.#out.bytes === 0) {
      if (this.#sending === 'ending') this.#host.ready(this)
    } else if (this.#sendCredit > 0) this.#host.ready(this)
  }

  #finishIfDone(): void {
    if (this.#sending !== 'ended' || this.#receiving !== 'ended') return
    // What arrived before start() waits for it, even when both directions are over.
    if (this.#in.started || this.#in.held === 0) this.#close(undefined)
  }

  #close(err: AppError | undefined): void {
    if (this.state === 'closed') return
    if (this.state !== 'open') this.#host.answered(this)
    this.state = 'closed'
    this.error = err
    this.deadline?.cancel()
    this.#out.clear()
    this.#in.close()
    this.#host.windows.release(this.#window)
    this.#host.gone(this)
    // An error costs its stack: it is made for who waits and for nobody else.
    if (this.onanswer) this.#answer(err ?? new AppError('ERR_STREAM_RESET'))
    try {
      this.onclose?.(err)
    } catch (e) {
      this.#host.callbackFailed(e)
    }
  }

  #answer(err?: AppError): void {
    const answer = this.onanswer
    this.onanswer = undefined
    answer?.(err)
  }

  /** A callback threw: our bug, and this stream's end alone. */
  #broken(e: unknown): void {
    this.#host.callbackFailed(e)
    this.reset('ERR_INTERNAL', toAppError(e).message)
  }

  #call(fn: (() => void) | undefined): void {
    try {
      fn?.()
    } catch (e) {
      this.#broken(e)
    }
  }
}

const EMPTY: Buffer = Buffer.alloc(0)

/** The machine behind `Session`: ids, who may open what, frames to streams and back, going away, the end. */
import { AppError, isAppError, toAppError } from '../errors.ts'
import type { Clock } from '../clock.ts'
import { createDecoder, protocolError, type FrameSink } from './codec.ts'
import {
  GOAWAY,
  header,
  MAX_STREAM_ID,
  OPEN,
  PING,
  REPLY,
  RESET,
  withPayload,
  type ControlFrame,
} from './frame.ts'
import { KeepAlive } from './keep-alive.ts'
import { lostWith } from './lost.ts'
import { MuxStream, type StreamHost } from './mux-stream.ts'
import { Offers } from './offers.ts'
import { Outbound } from './outbound.ts'
import { Pacer } from './pacer.ts'
import { createReceiveWindows, type ReceiveWindows } from './receive-windows.ts'
import { encodeReset } from './reset-reason.ts'
import { Pings } from './pings.ts'
import type { Session, SessionOptions, SessionStats } from './session.ts'
import type { TunnelStream } from './stream.ts'
import type { Transport } from './transport.ts'
import { limitsWith, type TunnelLimits } from './tunnel-limits.ts'

class MuxSession implements Session, StreamHost, FrameSink {
  readonly clock: Clock
  readonly windows: ReceiveWindows
  readonly resetPayload: number
  readonly #options: SessionOptions
  readonly #limits: TunnelLimits
  readonly #transport: Transport
  readonly #out: Outbound
  readonly #alive: KeepAlive
  readonly #streams = new Map<number, MuxStream>()
  readonly #pings: Pings
  readonly #pacer: Pacer
  readonly #counts = { bytesIn: 0, bytesOut: 0, opened: 0, refused: 0, stalls: 0 }
  #nextId: number
  #lastPeerId = 0
  /** Streams that wait for an answer: of the peer, and of us. */
  #opening = 0
  readonly #offers = new Offers<MuxStream>()
  #state: 'open' | 'closed' = 'open'
  #weGoAway = false
  #peerGoesAway = false
  /** Whom the pieces of the DATA frame in progress are for; undefined drops them. */
  #target: MuxStream | undefined

  constructor(transport: Transport, options: SessionOptions) {
    this.#options = options
    this.clock = options.clock
    this.#transport = transport
    this.#limits = limitsWith(options.limits)
    this.resetPayload = this.#limits.resetPayload
    this.windows = createReceiveWindows(this.#limits, options.budget)
    this.#nextId = options.side === 'client' ? 1 : 2
    this.#out = new Outbound(transport, {
      nextTurn: options.nextTurn ?? ((fn) => void setImmediate(fn)),
      limits: this.#limits,
      full: () => this.#pacer.full,
      onWrite: (bytes, ofStreams) => this.#wrote(bytes, ofStreams),
    })
    this.#pings = new Pings(this.clock, (token) => this.send(header(PING, 0, 0, token)))
    this.#pacer = new Pacer(this.clock, this.#pings, () => this.#out.flush())
    this.#alive = new KeepAlive({
      clock: this.clock,
      limits: this.#limits,
      buffered: () => transport.buffered,
      awaits: () => this.#opening > 0,
      ping: (answered) => this.#pings.probe(answered),
      dead: (err) => this.close(err),
      suspect: (yes) => options.onSuspect?.(yes),
    })
    const decoder = createDecoder(this, this.#limits)
    transport.ondata = (bytes) => {
      this.#counts.bytesIn += bytes.length
      try {
        this.#alive.received()
        const violation = decoder.push(bytes)
        if (violation) this.close(violation)
      } catch (e) {
        // A handler of ours failed between two frames: what the decoder holds is not to be trusted any more.
        this.callbackFailed(e)
        this.close(toAppError(e))
      }
    }
    transport.ondrain = () => {
      this.#alive.progressed()
      this.#out.flush()
    }
    transport.onend = (err) => this.close(err)
    this.#pings.measure()
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }
  get goingAway(): boolean {
    return this.#peerGoesAway
  }
  get streams(): number {
    return this.#streams.size
  }
  get rtt(): number {
    return this.#pings.rtt
  }
  get stats(): SessionStats {
    return { ...this.#counts }
  }

  open(payload: Buffer, signal?: AbortSignal): Promise<TunnelStream> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      const window = this.#mayOpen(payload)
      if (isAppError(window)) return reject(window)
      const id = this.#nextId
      this.#nextId += 2
      this.#opening++
      this.#counts.opened++
      this.send(...withPayload(OPEN, id, payload))
      this.#alive.sent()
      const stream = new MuxStream(this, id, 'opening', window)
      this.#streams.set(id, stream)
      stream.deadline = this.clock.after(this.#limits.openTimeout, () =>
        stream.reset('ERR_TIMEOUT'),
      )
      const onAbort = () => stream.reset()
      signal?.addEventListener('abort', onAbort, { once: true })
      stream.onanswer = (err) => {
        signal?.removeEventListener('abort', onAbort)
        if (!err) resolve(stream)
        else reject(signal?.aborted ? (signal.reason as Error) : err)
      }
    })
  }

  ping(): Promise<number> {
    if (this.closed) return Promise.reject(new AppError('ERR_TUNNEL_CLOSED'))
    return this.#pings.send()
  }

  goAway(comeBackMs: number): void {
    if (this.closed) return
    this.#weGoAway = true
    this.send(header(GOAWAY, 0, 0, Math.max(0, Math.min(0xffff_ffff, Math.round(comeBackMs)))))
  }

  close(err?: AppError): void {
    if (this.closed) return
    this.#out.stop()
    this.#state = 'closed'
    this.#alive.stop()
    const why = lostWith(err)
    for (const stream of [...this.#streams.values()]) stream.fail(why)
    this.#pings.close(why)
    this.#transport.close(err)
    try {
      this.#options.onClose?.(err)
    } catch (e) {
      this.callbackFailed(e)
    }
  }

  // ── for the streams ──

  send(...frame: readonly Buffer[]): void {
    if (!this.closed) this.#out.control(frame)
  }
  ready(stream: MuxStream): void {
    if (!this.closed) this.#out.ready(stream)
  }
  stalled(): void {
    this.#counts.stalls++
  }
  answered(stream: MuxStream): void {
    if (this.#isOurs(stream.id)) this.#opening--
    else this.#offers.answered(stream, stream.state === 'open')
  }
  gone(stream: MuxStream): void {
    this.#streams.delete(stream.id)
  }
  callbackFailed(e: unknown): void {
    this.#options.onCallbackError?.(e)
  }

  // ── for the decoder ──

  control(frame: ControlFrame): AppError | undefined {
    if (this.closed) return undefined
    switch (frame.type) {
      case 'ping':
        if (frame.reply) return this.#pings.answered(frame.token)
        return this.#out.reply([header(PING, REPLY, 0, frame.token)])
      case 'goaway':
        this.#peerGoesAway = true
        this.#options.onGoAway?.(frame.comeBackMs)
        return undefined
      case 'open':
        return this.#offer(frame.id, frame.payload)
      case 'opened':
        if (!this.#isOurs(frame.id)) return protocolError(`OPENED on their stream ${frame.id}`)
        return this.#known(frame.id, (stream) => stream.opened(frame.payload))
      case 'window':
        return this.#known(frame.id, (stream) => stream.credit(frame.credit))
      case 'reset':
        return this.#known(frame.id, (stream) => stream.wasReset(frame.payload))
    }
  }

  dataHeader(id: number, length: number): AppError | undefined {
    this.#alive.flowing()
    this.#target = undefined
    return this.#known(id, (stream) => {
      this.#target = stream
      return stream.expect(length)
    })
  }
  dataPiece(piece: Buffer): void {
    this.#target?.receive(piece)
  }
  dataEnd(fin: boolean): void {
    const target = this.#target
    this.#target = undefined
    if (fin) target?.ended()
  }

  #isOurs(id: number): boolean {
    return id % 2 === (this.#options.side === 'client' ? 1 : 0)
  }

  /** Runs `act` on the stream. A stream that is over is passed over in silence: its last frames crossed the reset. */
  #known(id: number, act: (stream: MuxStream) => AppError | undefined): AppError | undefined {
    const stream = this.#streams.get(id)
    if (stream) return act(stream)
    const existed = this.#isOurs(id) ? id < this.#nextId : id <= this.#lastPeerId
    return existed ? undefined : protocolError(`frame for stream ${id}, which was never opened`)
  }

  #mayOpen(payload: Buffer): number | AppError {
    if (this.closed || this.#peerGoesAway) return new AppError('ERR_TUNNEL_CLOSED')
    if (this.#nextId > MAX_STREAM_ID)
      return new AppError('ERR_TUNNEL_CLOSED', undefined, { internal: 'stream ids used up' })
    if (payload.length > this.#limits.openPayload)
      return new AppError('ERR_INPUT_TOO_LARGE', 'The request to open a stream is too large')
    if (this.#opening >= this.#limits.halfOpenStreams) return tooMany()
    if (this.#streams.size >= this.#limits.streamsPerTunnel) return tooMany()
    return this.windows.admit() ?? tooMany()
  }

  #offer(id: number, payload: Buffer): AppError | undefined {
    if (this.#isOurs(id) || id <= this.#lastPeerId)
      return protocolError(`OPEN of stream ${id} after ${this.#lastPeerId}`)
    this.#lastPeerId = id
    if (this.#weGoAway) return this.#turnAway(id, new AppError('ERR_TUNNEL_CLOSED'))
    const crowded =
      this.#offers.count >= this.#limits.halfOpenStreams ||
      this.#streams.size >= this.#limits.streamsPerTunnel
    const window = crowded ? undefined : this.windows.admit()
    if (window === undefined) return this.#turnAway(id, tooMany())
    this.#counts.opened++
    const stream = new MuxStream(this, id, 'offered', window)
    stream.payload = payload
    this.#streams.set(id, stream)
    stream.deadline = this.clock.after(this.#limits.openTimeout, () => stream.refuse('ERR_TIMEOUT'))
    try {
      this.#offers.ask(stream, () => this.#options.onOpen(stream, payload))
    } catch (e) {
      if (!isAppError(e)) this.callbackFailed(e)
      const err = toAppError(e)
      stream.reset(err.code, err.message)
    }
    return undefined
  }

  #turnAway(id: number, why: AppError): AppError | undefined {
    this.#counts.refused++
    const reason = encodeReset(why.code, why.message, this.resetPayload)
    return this.#out.reply(withPayload(RESET, id, reason))
  }

  /** A message is about to be handed to the transport. */
  #wrote(bytes: number, ofStreams: boolean): void {
    this.#counts.bytesOut += bytes
    if (this.#transport.buffered === 0) this.#alive.progressed()
    if (ofStreams) this.#alive.sent()
    if (ofStreams) this.#pacer.wrote(bytes)
  }
}

const tooMany = () => new AppError('ERR_RATE_LIMITED', 'Too many streams are open')

export function createSession(transport: Transport, options: SessionOptions): Session {
  return new MuxSession(transport, options)
}

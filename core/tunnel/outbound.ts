/**
 * What goes out, in which order: control frames, then streams with little to send, then bulk in round robin, gathered into
 * messages once per turn of the event loop. Little is kept in the transport, because what is handed over cannot be overtaken.
 */
import type { AppError } from '../errors.ts'
import { protocolError } from './codec.ts'
import { HEADER_BYTES } from './frame.ts'
import type { MuxStream } from './mux-stream.ts'
import type { Batch } from './send-queue.ts'
import { giveSlab, SLAB_BYTES } from './slabs.ts'
import type { Transport } from './transport.ts'
import type { TunnelLimits } from './tunnel-limits.ts'

/** Bytes that fit into one slab with the carrier's header (RFC 6455: up to 14 bytes); it is four full TLS records. */
const ROOM = SLAB_BYTES - 14
/** Bytes of a message, so that a PING behind them still fits. */
const MESSAGE = ROOM - 32
/** With this much in the transport nothing more is handed over until it drains. */
const HIGH_WATER = 256 * 1024
/** A stream with at most this much queued goes before bulk. */
const QUICK = 4 * 1024
/** Bulk waits for the next message rather than to be cut into frames smaller than this. */
const LEAST = 4 * 1024

/** A queue that hands out from its front without moving the rest each time. */
class Line<T> {
  readonly #items: (T | undefined)[] = []
  #head = 0
  get length(): number {
    return this.#items.length - this.#head
  }
  push(item: T): void {
    this.#items.push(item)
  }
  shift(): T | undefined {
    const item = this.#items[this.#head]
    this.#items[this.#head++] = undefined
    if (this.#head === this.#items.length) this.clear()
    else if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head)
      this.#head = 0
    }
    return item
  }
  clear(): void {
    this.#items.length = 0
    this.#head = 0
  }
}

export class Outbound {
  readonly #transport: Transport
  readonly #nextTurn: (fn: () => void) => void
  readonly #limits: Pick<TunnelLimits, 'frameMax' | 'pendingControl'>
  /** Enough is on its way: only control frames and short queues go out. */
  readonly #full: () => boolean
  /** Told before each message how long it is and whether it carries anything of a stream. */
  readonly #onWrite: (bytes: number, ofStreams: boolean) => void
  readonly #control = new Line<Buffer>()
  readonly #quick = new Line<MuxStream>()
  readonly #bulk = new Line<MuxStream>()
  #state: 'idle' | 'scheduled' | 'stopped' = 'idle'
  /** Control frames waiting that only the peer's frames caused. */
  #replies = 0

  constructor(
    transport: Transport,
    options: {
      readonly nextTurn: (fn: () => void) => void
      readonly limits: Pick<TunnelLimits, 'frameMax' | 'pendingControl'>
      readonly full: () => boolean
      readonly onWrite: (bytes: number, ofStreams: boolean) => void
    },
  ) {
    this.#transport = transport
    this.#nextTurn = options.nextTurn
    this.#limits = options.limits
    this.#full = options.full
    this.#onWrite = options.onWrite
  }

  control(frame: readonly Buffer[]): void {
    for (const part of frame) this.#control.push(part)
    this.#schedule()
  }

  /** A control frame that answers one of the peer's. A peer that asks on and on without reading is cut. */
  reply(frame: readonly Buffer[]): AppError | undefined {
    this.control(frame)
    return ++this.#replies > this.#limits.pendingControl
      ? protocolError('control frames without reading our answers')
      : undefined
  }

  ready(stream: MuxStream): void {
    if (!stream.queued) {
      stream.queued = true
      ;(stream.pending <= QUICK ? this.#quick : this.#bulk).push(stream)
    }
    this.#schedule()
  }

  /** Writes what fits now. Called each turn and whenever the transport drains. */
  flush(): void {
    while (this.#state !== 'stopped' && this.#waiting()) {
      if (this.#transport.buffered >= HIGH_WATER) return
      const full = this.#full()
      if (full && this.#control.length + this.#quick.length === 0) return
      const batch: Batch = { bufs: [], spent: [] }
      const control = this.#takeControl(batch.bufs)
      let bytes = control
      // Half of the message at most, so that many small writers do not starve bulk on a narrow link.
      const share = this.#bulk.length > 0 ? bytes + MESSAGE / 2 : MESSAGE
      bytes = this.#takeStreams(this.#quick, batch, bytes, share, QUICK)
      if (!full) bytes = this.#takeStreams(this.#bulk, batch, bytes, MESSAGE, this.#limits.frameMax)
      if (batch.bufs.length === 0) continue
      this.#onWrite(bytes, bytes > control)
      // A PING behind these bytes goes with them: a message of its own costs as much as a small file.
      bytes += this.#takeControl(batch.bufs, ROOM - bytes)
      this.#transport.writev(batch.bufs, bytes)
      for (const slab of batch.spent) giveSlab(slab)
    }
  }

  /** The session is over: whatever waits is dropped, control frames go out if the transport takes them. */
  stop(): void {
    if (this.#state === 'stopped') return
    const out: Buffer[] = []
    const bytes = this.#transport.buffered < HIGH_WATER ? this.#takeControl(out) : 0
    this.#state = 'stopped'
    if (out.length > 0) this.#transport.writev(out, bytes)
    this.#control.clear()
    this.#quick.clear()
    this.#bulk.clear()
  }

  #waiting(): boolean {
    return this.#control.length + this.#quick.length + this.#bulk.length > 0
  }

  #takeControl(out: Buffer[], room = MESSAGE): number {
    let bytes = 0
    while (bytes < room) {
      const part = this.#control.shift()
      if (!part) break
      out.push(part)
      bytes += part.length
    }
    if (this.#control.length === 0) this.#replies = 0
    return bytes
  }

  #takeStreams(
    line: Line<MuxStream>,
    batch: Batch,
    before: number,
    until: number,
    most: number,
  ): number {
    let bytes = before
    // What is requeued while we go round waits for the next message.
    for (let n = line.length; n > 0; n--) {
      const room = until - bytes - HEADER_BYTES
      if (room < LEAST) break
      const stream = line.shift()
      if (!stream) continue
      stream.queued = false
      bytes += stream.take(batch, Math.min(most, room))
    }
    return bytes
  }

  #schedule(): void {
    if (this.#state !== 'idle') return
    this.#state = 'scheduled'
    this.#nextTurn(() => {
      if (this.#state === 'stopped') return
      this.#state = 'idle'
      this.flush()
    })
  }
}

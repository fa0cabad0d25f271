/** A stream of a tunnel as a Node `Duplex`, for libraries that want one (ssh2, tls, http). */
import { Duplex } from 'node:stream'
import { toAppError } from '../errors.ts'
import type { TunnelStream } from './stream.ts'

const HIGH_WATER = 64 * 1024

class StreamDuplex extends Duplex {
  readonly #stream: TunnelStream
  /** Given to the reader's buffer when it was full: credit waits until it reads again. */
  #owed = 0
  #written: (() => void) | undefined
  /** Waits for our end to go out: until then 'finish' would say more than is true. */
  #finished: (() => void) | undefined

  constructor(stream: TunnelStream) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: HIGH_WATER,
      writableHighWaterMark: HIGH_WATER,
    })
    this.#stream = stream
    stream.ondata = (bytes) => {
      const n = bytes.length
      if (this.push(bytes)) stream.consumed(n)
      else this.#owed += n
    }
    stream.onend = () => void this.push(null)
    stream.ondrain = () => this.#flushed()
    stream.onfinish = () => this.#ended()
    stream.onclose = (err) => {
      if (err) this.destroy(err)
    }
    if (stream.state === 'closed') this.destroy()
    else stream.start()
  }

  override _read(): void {
    const n = this.#owed
    this.#owed = 0
    if (n > 0) this.#stream.consumed(n)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (e?: Error) => void): void {
    this.#put([chunk], done)
  }

  override _writev(chunks: readonly { chunk: Buffer }[], done: (e?: Error) => void): void {
    this.#put(
      chunks.map((c) => c.chunk),
      done,
    )
  }

  override _final(done: (e?: Error) => void): void {
    if (this.#stream.state === 'closed') return done()
    this.#finished = done
    this.#stream.end()
  }

  override _destroy(err: Error | null, done: (e: Error | null) => void): void {
    const reason = err ? toAppError(err) : undefined
    // With both directions ended the stream closes by itself.
    if (err || !this.writableFinished || !this.readableEnded)
      this.#stream.reset(reason?.code, reason?.message)
    this.#flushed()
    this.#ended()
    done(err)
  }

  #put(chunks: readonly Buffer[], done: () => void): void {
    let room = true
    // Copied: whoever wrote a chunk may use its memory again once it was called back.
    for (const chunk of chunks) room = this.#stream.writeCopy(chunk)
    // A stream that is over never drains; its onclose destroys us.
    if (room || this.#stream.state === 'closed') done()
    else this.#written = done
  }

  #flushed(): void {
    const done = this.#written
    this.#written = undefined
    done?.()
  }

  #ended(): void {
    const done = this.#finished
    this.#finished = undefined
    done?.()
  }
}

/** Half-close kept, backpressure both ways, `destroy(err)` resets the stream. Starts the stream. */
export function toDuplex(stream: TunnelStream): Duplex {
  return new StreamDuplex(stream)
}

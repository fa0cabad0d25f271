/** Small ends for streams under test. All of them start the stream. */
import { createHash } from 'node:crypto'
import type { TunnelStream } from '../../core/tunnel/stream.ts'

/** Everything until the peer's end; rejects when the stream is reset. */
export function collect(stream: TunnelStream): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    stream.ondata = (bytes) => {
      parts.push(bytes)
      stream.consumed(bytes.length)
    }
    stream.onend = () => resolve(Buffer.concat(parts))
    stream.onclose = (err) => err && reject(err)
    stream.start()
  })
}

/** SHA-256 of exactly `total` bytes; anything else rejects. */
export function sink(stream: TunnelStream, total: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256')
    let bytes = 0
    stream.ondata = (piece) => {
      hash.update(piece)
      bytes += piece.length
      stream.consumed(piece.length)
    }
    stream.onend = () =>
      bytes === total
        ? resolve(hash.digest('hex'))
        : reject(new Error(`${bytes} of ${total} bytes`))
    stream.onclose = (err) => err && reject(err)
    stream.start()
  })
}

/** Sends everything back, the end too. */
export function echo(stream: TunnelStream): void {
  let owed = 0
  stream.ondata = (bytes) => {
    if (stream.write(bytes) && owed === 0) stream.consumed(bytes.length)
    else owed += bytes.length
  }
  stream.ondrain = () => {
    stream.consumed(owed)
    owed = 0
  }
  stream.onend = () => stream.end()
  stream.start()
}

export function send(stream: TunnelStream, bytes: Buffer): void {
  stream.write(bytes)
}

/** Offered streams, to be awaited one by one. */
export function offers<T>(): { push(item: T): void; next(): Promise<T> } {
  const waiting: T[] = []
  const readers: ((item: T) => void)[] = []
  return {
    push(item) {
      const reader = readers.shift()
      if (reader) reader(item)
      else waiting.push(item)
    },
    next() {
      const item = waiting.shift()
      if (item !== undefined) return Promise.resolve(item)
      return new Promise((resolve) => readers.push(resolve))
    },
  }
}

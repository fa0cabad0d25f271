/**
 * A byte stream between two threads: a Duplex over a MessagePort. Chunks are moved, not cloned; a window of unacknowledged
 * bytes carries backpressure, so that neither side can fill the other's memory. Half-close is kept.
 */
import { Duplex } from 'node:stream'
import type { MessagePort } from 'node:worker_threads'
import { LIMITS } from '../../../core/limits.ts'

type PortMessage =
  | { readonly data: Uint8Array<ArrayBuffer> }
  /** So many bytes were taken. */
  | { readonly took: number }
  | { readonly end: true }
  | { readonly reset: string }

const WINDOW = LIMITS.sshRelayWindow.value
/** Acknowledged in steps, so that a fast stream does not cost a message for each message. */
const ACK_STEP = WINDOW / 16
/** Small writes are joined up to this size: one message costs as much as copying some 20 KB. */
const JOIN = 128 * 1024

export function portDuplex(port: MessagePort): Duplex {
  let sent = 0
  let owed = 0
  let blocked: (() => void) | undefined
  const queue: Buffer[] = []

  const post = (message: PortMessage, transfer: ArrayBuffer[] = []): void =>
    port.postMessage(message, transfer)
  function acknowledge(bytes: number): void {
    owed += bytes
    if (owed < ACK_STEP) return
    post({ took: owed })
    owed = 0
  }
  function send(bytes: Uint8Array<ArrayBuffer>, done: () => void): void {
    sent += bytes.length
    post({ data: bytes }, [bytes.buffer])
    if (sent < WINDOW) done()
    else blocked = done
  }
  let wanted = false
  let peer: 'open' | 'ended' | 'told' = 'open'
  function deliver(): void {
    while (wanted) {
      const chunk = queue.shift()
      if (!chunk) break
      acknowledge(chunk.length)
      wanted = duplex.push(chunk)
    }
    if (peer !== 'ended' || queue.length > 0) return
    peer = 'told'
    duplex.push(null)
  }

  const duplex = new Duplex({
    allowHalfOpen: true,
    highWaterMark: 64 * 1024,
    read() {
      wanted = true
      deliver()
    },
    write(chunk: Buffer, _encoding, done) {
      // A copy of its own: the chunk may be a slice of memory that others use, and what is sent is moved away.
      send(new Uint8Array(chunk), done)
    },
    writev(chunks, done) {
      const parts: Buffer[] = chunks.map(({ chunk }) => chunk as Buffer)
      const next = (): void => {
        let size = 0
        let count = 0
        while (count < parts.length && (count === 0 || size + (parts[count]?.length ?? 0) <= JOIN))
          size += parts[count++]?.length ?? 0
        if (count === 0) return done()
        const joined = new Uint8Array(size)
        let at = 0
        for (const part of parts.splice(0, count)) {
          joined.set(part, at)
          at += part.length
        }
        send(joined, next)
      }
      next()
    },
    final(done) {
      post({ end: true })
      done()
    },
    destroy(error, done) {
      if (error || peer === 'open' || !duplex.writableFinished)
        post({ reset: error?.message ?? 'closed' })
      port.close()
      done(error)
    },
  })

  port.on('message', (message: PortMessage) => {
    if ('data' in message) {
      queue.push(Buffer.from(message.data.buffer))
      deliver()
    } else if ('took' in message) {
      sent -= message.took
      if (sent >= WINDOW || !blocked) return
      const go = blocked
      blocked = undefined
      go()
    } else if ('end' in message) {
      peer = 'ended'
      deliver()
    } else duplex.destroy()
  })
  // What was sent before the other side went is still read.
  port.on('close', () => {
    if (peer === 'open' || duplex.readableEnded) duplex.destroy()
    else duplex.once('end', () => duplex.destroy())
  })
  return duplex
}

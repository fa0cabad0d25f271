/**
 * A byte stream between two threads over a MessagePort. What is written within one turn goes as one message; its memory is
 * moved, not cloned, and comes back to be used again, because new memory for every message makes the garbage collector walk
 * both threads' heaps a hundred times per gigabyte (docs/adr/0031). A window of unacknowledged bytes carries backpressure.
 */
import type { MessagePort } from 'node:worker_threads'
import { LIMITS } from '../../../core/limits.ts'

type PortMessage =
  | { readonly data: Uint8Array<ArrayBuffer> }
  /** So many bytes were taken, and memory that is free again. */
  | { readonly took: number; readonly back: readonly ArrayBuffer[] }
  | { readonly end: true }
  | { readonly reset: string }

const WINDOW = LIMITS.sshRelayWindow.value
/** Acknowledged in steps, so that a fast stream does not cost a message for each message. */
const ACK_STEP = WINDOW / 16
/** Memory of one message: what a program's pipe gives at once, with the overhead of its SSH packets. */
const PIECE = 80 * 1024
/** Shorter messages get memory of their own length, which does not come back: a keystroke needs no large piece. */
const SMALL = 4 * 1024
/** Free pieces that are kept, half a window. */
const SPARES = Math.ceil(WINDOW / 2 / PIECE)

/** Says that bytes were taken. `reusable`: nobody will look at them again. */
export type Taken = (reusable: boolean) => void

export class PortLink {
  /** Bytes of the other thread, in order. They stay good until `taken` is called, which must happen once. */
  ondata: ((bytes: Buffer, taken: Taken) => void) | undefined
  /** The other side wrote its last byte. */
  onend: (() => void) | undefined
  /** After `write` said that the window is full: there is room again. */
  ondrain: (() => void) | undefined
  /** The other side gave up, or its thread is gone. What it sent before was delivered. */
  onclose: (() => void) | undefined

  readonly #port: MessagePort
  /** Written and not acknowledged. */
  #sent = 0
  #full = false
  #gather: Buffer<ArrayBuffer> | undefined
  #filled = 0
  #scheduled = false
  readonly #spares: ArrayBuffer[] = []
  /** Taken and not acknowledged, and memory that goes back with it. */
  #owed = 0
  #back: ArrayBuffer[] = []
  #closed = false

  constructor(port: MessagePort) {
    this.#port = port
    port.on('message', (message: PortMessage) => this.#receive(message))
    port.on('close', () => {
      this.#closed = true
      this.onclose?.()
    })
  }

  /** Copies the bytes. False: the window is full, wait for `ondrain` (they were taken all the same). */
  write(bytes: Uint8Array): boolean {
    this.#sent += bytes.length
    for (let at = 0; at < bytes.length;) {
      this.#gather ??= Buffer.from(this.#spares.pop() ?? Buffer.allocUnsafeSlow(PIECE).buffer)
      const part = bytes.subarray(at, at + PIECE - this.#filled)
      this.#gather.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === PIECE) this.#flush()
    }
    if (this.#filled > 0 && !this.#scheduled) {
      this.#scheduled = true
      queueMicrotask(() => {
        this.#scheduled = false
        this.#flush()
      })
    }
    if (this.#sent >= WINDOW) this.#full = true
    return !this.#full
  }

  /** Nothing more will be written. */
  end(): void {
    this.#flush()
    this.#post({ end: true })
  }

  /** Gives up, both ways, and closes the port. */
  reset(reason: string): void {
    this.#flush()
    this.#post({ reset: reason })
    this.close()
  }

  close(): void {
    this.#port.close()
  }

  #flush(): void {
    const gathered = this.#gather
    const length = this.#filled
    if (!gathered || length === 0) return
    this.#filled = 0
    if (length < SMALL) return this.#move(new Uint8Array(gathered.subarray(0, length)))
    this.#gather = undefined
    this.#move(gathered.subarray(0, length))
  }

  #move(data: Uint8Array<ArrayBuffer>): void {
    this.#post({ data }, [data.buffer])
  }

  #post(message: PortMessage, transfer: readonly ArrayBuffer[] = []): void {
    if (!this.#closed) this.#port.postMessage(message, transfer)
  }

  #receive(message: PortMessage): void {
    if ('data' in message) {
      const { data } = message
      const { buffer, length } = data
      this.ondata?.(Buffer.from(buffer, data.byteOffset, length), (reusable) =>
        this.#took(length, reusable && buffer.byteLength === PIECE ? buffer : undefined),
      )
    } else if ('took' in message) {
      this.#sent -= message.took
      for (const buffer of message.back) if (this.#spares.length < SPARES) this.#spares.push(buffer)
      if (!this.#full || this.#sent >= WINDOW) return
      this.#full = false
      this.ondrain?.()
    } else if ('end' in message) this.onend?.()
    else this.close()
  }

  #took(bytes: number, memory: ArrayBuffer | undefined): void {
    this.#owed += bytes
    if (memory) this.#back.push(memory)
    if (this.#owed < ACK_STEP) return
    const back = this.#back
    this.#back = []
    this.#post({ took: this.#owed, back }, back)
    this.#owed = 0
  }
}

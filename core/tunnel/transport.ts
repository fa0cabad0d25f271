/**
 * What a tunnel session needs from whatever carries its bytes: memory, TCP, or a WebSocket inside TLS.
 * Bytes arrive in any chunking and in order. The carrier adds no meaning of its own.
 */
import type { AppError } from '../errors.ts'

export interface Transport {
  /**
   * Takes `bufs` (together `bytes` long) to be sent as one message, and copies them before it returns. Never throws; a failure
   * arrives as `onend`.
   */
  writev(bufs: readonly Buffer[], bytes: number): void
  /** Bytes taken by `writev` that the operating system has not taken yet. */
  readonly buffered: number
  /** Bytes of the peer, in order, any chunking. They are good during the call only. */
  ondata: ((bytes: Buffer) => void) | undefined
  /** Some of what was buffered went out. */
  ondrain: (() => void) | undefined
  /** The carrier ended, by either side. With an error when the peer or the network gave a reason. At most once. */
  onend: ((err?: AppError) => void) | undefined
  /**
   * Ends the carrier. Without an error what is buffered still goes out; with one the peer is told its code where the
   * carrier can say it. Idempotent.
   */
  close(err?: AppError): void
}

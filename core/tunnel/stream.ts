/**
 * One stream of a tunnel: an ordered, flow-controlled byte pipe each way, each way closed on its own.
 *
 * Callbacks instead of a Node `Duplex`, because the proxy splices many thousands of them and a Duplex costs a tenth of the
 * throughput and most of the memory. `duplex.ts` makes a Duplex for whoever wants one.
 */
import type { ErrorCode, AppError } from '../errors.ts'

/** opening: we asked, no answer yet · offered: the peer asked, we have not answered · open · closed (for good). */
export type StreamState = 'opening' | 'offered' | 'open' | 'closed'

export interface TunnelStream {
  /** Odd when the client side of the tunnel opened it. Unique within its session, never reused. */
  readonly id: number
  readonly state: StreamState
  /** Once closed: what `onclose` is told, for whoever comes later than that. */
  readonly error: AppError | undefined
  /** The peer's payload: of OPEN on the side that was asked, of the answer on the side that asked. */
  readonly payload: Buffer
  /** Bytes received so far and bytes taken by `write` so far. For the audit log. */
  readonly bytesIn: number
  readonly bytesOut: number

  /** Answers an offered stream with yes. Call `start` when the callbacks are set. */
  accept(payload?: Buffer): void
  /** Answers an offered stream with no. The opener's promise rejects with this code and message. */
  refuse(code: ErrorCode, message?: string): void
  /** Delivers what arrived so far, then everything as it arrives. Nothing is delivered before. */
  start(): void
  /**
   * Queues bytes; ownership passes. False: enough is queued, wait for `ondrain` (the bytes were taken all the same).
   * After `end` or on a closed stream the bytes are dropped and the answer is false.
   */
  write(bytes: Buffer): boolean
  /** As `write`, but the bytes stay the caller's: they are copied before this returns. */
  writeCopy(bytes: Buffer): boolean
  /** No more bytes from this side. What is queued still goes out; the other direction stays open. */
  end(): void
  /**
   * The receiver is done with `n` bytes that `ondata` gave it, which lets the peer send as many more. A receiver that calls
   * this late or never stalls its own stream and no other.
   */
  consumed(n: number): void
  /** Drops the stream at once, both ways, and tells the peer why. Idempotent. */
  reset(code?: ErrorCode, reason?: string): void

  ondata: ((bytes: Buffer) => void) | undefined
  /**
   * Default false: what `ondata` gets is its own for ever. True: good during the call only, which saves a copy; for who sends
   * it on at once.
   */
  borrows: boolean
  /** The peer called `end`: no more bytes will come. */
  onend: (() => void) | undefined
  /** After `write` answered false: there is room again. */
  ondrain: (() => void) | undefined
  /** After `end`: the last byte and the end itself were handed to the transport. */
  onfinish: (() => void) | undefined
  /**
   * The stream is over, called exactly once. No error: both sides ended it. An error: it was reset (the peer's code and
   * reason), refused, or the tunnel broke (ERR_TUNNEL_CLOSED and the like).
   */
  onclose: ((err?: AppError) => void) | undefined
}

/**
 * One tunnel: many streams over one transport. This file is the surface; mux-session.ts is the machine, SPEC.md the protocol.
 */
import type { AppError } from '../errors.ts'
import type { Clock } from '../clock.ts'
import type { TunnelStream } from './stream.ts'
import type { Transport } from './transport.ts'
import type { WindowBudget } from './window-budget.ts'
import type { TunnelLimits } from './tunnel-limits.ts'

export interface SessionHandlers {
  /**
   * The peer asks for a stream. Answer with `stream.accept(...)` or `stream.refuse(...)`, now or within the open timeout;
   * after it the stream is refused with ERR_TIMEOUT. A handler that throws refuses the stream and harms nothing else. One that
   * answers later returns when it is done: until then the stream counts as half-open, even if the peer took it back.
   */
  onOpen(stream: TunnelStream, payload: Buffer): void | Promise<void>
  /** The peer takes no new streams and wants us back (at another proxy) in about this many milliseconds. */
  onGoAway?: ((comeBackMs: number) => void) | undefined
  /**
   * true: traffic waits and the peer has been silent for LIMITS.suspectAfter although it was probed; false: it spoke again.
   * A hook for replacing the tunnel early; the session itself does nothing more.
   */
  onSuspect?: ((suspect: boolean) => void) | undefined
  /** The tunnel is over, called exactly once after every stream was closed. No error: one side closed it in good order. */
  onClose?: ((err?: AppError) => void) | undefined
  /**
   * A callback of this process threw: a bug of ours. The stream it belongs to was reset, nothing else was harmed; this is
   * where it is logged. Default: ignored.
   */
  onCallbackError?: ((error: unknown) => void) | undefined
}

export interface SessionOptions extends SessionHandlers {
  /** The client dialled; it opens odd stream ids, the server even ones. */
  readonly side: 'client' | 'server'
  readonly clock: Clock
  /** The process's budget of receive windows, shared by all sessions. */
  readonly budget: WindowBudget
  /** Overrides for tests; the default is LIMITS. */
  readonly limits?: Partial<TunnelLimits> | undefined
  /** Runs a function in the next turn of the event loop; the default is setImmediate. */
  readonly nextTurn?: ((fn: () => void) => void) | undefined
}

export interface SessionStats {
  readonly bytesIn: number
  readonly bytesOut: number
  readonly opened: number
  readonly refused: number
  /** How often a stream had bytes to send and no credit. */
  readonly stalls: number
}

export interface Session {
  /**
   * Asks the peer for a stream: one round trip. Rejects with the peer's code and message when it refuses, ERR_TIMEOUT when it
   * does not answer, ERR_TUNNEL_CLOSED when the tunnel is closed or the peer is going away, the signal's reason when it
   * aborts. The stream is silent until `start()`.
   */
  open(payload: Buffer, signal?: AbortSignal): Promise<TunnelStream>
  /** Round trip in milliseconds. */
  ping(): Promise<number>
  /** Tells the peer to open no more streams here and to come back elsewhere. Existing streams go on. */
  goAway(comeBackMs: number): void
  /** Ends the tunnel and every stream of it. With an error, the peer is told its code. Idempotent. */
  close(err?: AppError): void
  readonly closed: boolean
  /** The peer said GOAWAY: dial elsewhere. */
  readonly goingAway: boolean
  /** Streams that are not closed. */
  readonly streams: number
  /** Smallest round trip of the last minutes in milliseconds; Infinity before the first answer. */
  readonly rtt: number
  readonly stats: SessionStats
}

export { createSession } from './mux-session.ts'
export type { Transport, TunnelStream }

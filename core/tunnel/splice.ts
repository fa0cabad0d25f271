/** Joining two byte pipes without a Duplex in between. (Surface first; implementation follows.) */
import type { Duplex } from 'node:stream'
import type { Session } from './session.ts'
import type { TunnelStream } from './stream.ts'

/** Joins two streams of two tunnels: bytes, half-close, reset with its reason and credit all pass through. Starts both. */
export declare function spliceStreams(a: TunnelStream, b: TunnelStream): void
/** Joins a stream and a socket (or any Duplex). Starts the stream. A reset destroys the socket; a socket error resets. */
export declare function spliceSocket(stream: TunnelStream, socket: Duplex): void
/**
 * Answers an offered stream by opening its like on another tunnel: the answer, or the refusal, is passed back, then both
 * are spliced. Resolves when they are; rejects with what the offered stream was refused with.
 */
export declare function relayStream(
  offered: TunnelStream,
  to: Session,
  payload: Buffer,
): Promise<TunnelStream>

/** A stream of a tunnel as a Node `Duplex`, for libraries that want one. (Surface first; implementation follows.) */
import type { Duplex } from 'node:stream'
import type { TunnelStream } from './stream.ts'

/** Half-close kept, backpressure both ways, `destroy(err)` resets the stream. Starts the stream. */
export declare function toDuplex(stream: TunnelStream): Duplex

/** Joins the user's side and the target: bytes, backpressure and half-close both ways, until both ended or one broke. */
import type { Duplex } from 'node:stream'
import { AppError } from '../../../core/errors.ts'

export interface Spliced {
  /** Resolves when both sides are closed; undefined when both ended in order, else the first thing that went wrong. */
  readonly ended: Promise<Error | undefined>
  /** Ends both sides at once, for this reason. */
  readonly cut: (reason: Error) => void
}

/**
 * Whether everything passed both ways. What waits for its acknowledgement does not count: a client that has read the end of the
 * answer may close the stream under our last, empty, message.
 */
const isOrderly = (side: Duplex): boolean =>
  side.readableEnded && side.writableEnded && side.writableLength === 0

/** `carrier` is what the user's TLS runs on: its error says why TLS broke off. */
export function spliceDuplex(user: Duplex, target: Duplex, carrier: Duplex): Spliced {
  let failed: Error | undefined
  let broken: Error | undefined
  carrier.on('error', (e: Error) => {
    broken ??= e
  })
  const ended = new Promise<Error | undefined>((resolve) => {
    let open = 2
    const join = (side: Duplex, other: Duplex, name: string): void => {
      side.on('error', (e: Error) => {
        failed ??= e
      })
      side.on('close', () => {
        if (!isOrderly(side)) {
          const internal = `the ${name} broke off`
          failed ??= broken ?? new AppError('ERR_STREAM_RESET', undefined, { internal })
          // A side that vanished leaves nothing to wait for on the other.
          other.destroy()
        }
        open -= 1
        if (open === 0) resolve(failed)
      })
      side.pipe(other)
    }
    join(user, target, "user's side")
    join(target, user, 'target')
  })
  return {
    ended,
    cut(reason) {
      failed ??= reason
      user.destroy()
      target.destroy()
    },
  }
}

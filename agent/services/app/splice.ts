/** Joins the user's side and the target: bytes, backpressure and half-close both ways, until both ended or one broke. */
import type { Duplex } from 'node:stream'
import { AppError } from '../../../core/errors.ts'

/**
 * Resolves when both sides are closed. The error is the first that happened, `carrier` (what TLS runs on) included; `cut`
 * destroys both sides.
 */
export function spliceDuplex(
  user: Duplex,
  target: Duplex,
  carrier: Duplex,
): { readonly ended: Promise<Error | undefined>; readonly cut: (reason: Error) => void } {
  let failed: Error | undefined
  const ended = new Promise<Error | undefined>((resolve) => {
    let open = 2
    carrier.on('error', (e: Error) => {
      failed ??= e
    })
    for (const [side, other] of [
      [user, target],
      [target, user],
    ] as const) {
      side.on('error', (e: Error) => {
        failed ??= e
      })
      side.on('close', () => {
        // A side that vanished without its end leaves nothing to wait for on the other.
        if (!side.readableEnded || !side.writableFinished) {
          failed ??= new AppError('ERR_STREAM_RESET', undefined, {
            internal: `the ${side === user ? "user's side" : 'target'} broke off`,
          })
          other.destroy()
        }
        open -= 1
        if (open === 0) resolve(failed)
      })
      side.pipe(other)
    }
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

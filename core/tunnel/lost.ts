/** The end of a tunnel as its streams see it. */
import { AppError, reasonOf } from '../errors.ts'

/**
 * What becomes of the streams when the tunnel ends. Whatever code a carrier or a peer ends it with, one that passes says nothing
 * about a stream: both ends of a resumable one would else take it for a reset by the other and give it up.
 */
export const lostWith = (err: AppError | undefined): AppError =>
  err && !err.kind.retryable
    ? err
    : new AppError('ERR_TUNNEL_CLOSED', undefined, err && { internal: reasonOf(err), cause: err })

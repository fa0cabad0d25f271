/**
 * Asking several ways for one stream. The next way is tried when one is dead or silent; a silent one is not given up, because it
 * may only be slow, and an agent that gets the same request twice refuses the second as a replay. The first that answers wins.
 */
import type { Clock } from '../core/clock.ts'
import { AppError, toAppError, type ErrorCode } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Session } from '../core/tunnel/session.ts'
import type { TunnelStream } from '../core/tunnel/stream.ts'

/** Where a stream can be sent. */
export interface AnyWay {
  readonly session: Session
  /** Traffic waits there and nothing is heard. */
  suspect: boolean
}

export interface Answered<W> {
  readonly way: W
  readonly stream: TunnelStream
}

/** Said by a tunnel that is dead, or by another proxy that has no way to the agent either. Any other answer stands. */
const PASSED_BY: ReadonlySet<ErrorCode> = new Set([
  'ERR_TUNNEL_CLOSED',
  'ERR_RESOURCE_OFFLINE',
  'ERR_PROXY_BUSY',
])

type Outcome<W> = (Answered<W> | { readonly error: AppError }) & {
  readonly of: Promise<unknown>
}

export interface FirstAnswerDeps {
  readonly clock: Clock
  /** A way was passed by for another. */
  onRetry(): void
}

/** Rejects with what an agent said, ERR_RESOURCE_OFFLINE when there is no way, or the reason of `gone`. */
export async function firstAnswer<W extends AnyWay>(
  ways: AsyncIterable<W>,
  payload: Buffer,
  gone: AbortSignal,
  deps: FirstAnswerDeps,
): Promise<Answered<W>> {
  const won = new AbortController()
  const signal = AbortSignal.any([gone, won.signal])
  const pending = new Set<Promise<Outcome<W>>>()
  let refusal: AppError | undefined
  let passedBy = false

  /** Resolves when the way shows no life. The probe counts, not the answer: an agent may think for a while. */
  function silence(way: W): Promise<undefined> {
    return new Promise((resolve) => {
      const timer = deps.clock.after(LIMITS.suspectAfter.value, () => {
        way.suspect = true
        resolve(undefined)
      })
      const alive = (): void => {
        timer.cancel()
        way.suspect = false
      }
      way.session.ping().then(alive, () => timer.cancel())
    })
  }

  function ask(way: W): void {
    const of: Promise<Outcome<W>> = way.session.open(payload, signal).then(
      (stream) => ({ way, stream, of }),
      (e: unknown) => ({ error: toAppError(e), of }),
    )
    pending.add(of)
  }

  /** Takes what is known of one; the answer when that is it. */
  function take(outcome: Outcome<W>): Answered<W> | undefined {
    pending.delete(outcome.of as Promise<Outcome<W>>)
    if (!('error' in outcome)) return outcome
    if (gone.aborted) throw gone.reason
    if (PASSED_BY.has(outcome.error.code)) {
      passedBy = true
      deps.onRetry()
    } else refusal = outcome.error
    return undefined
  }

  /**
   * A way that died may have brought the request before it did, and the agent then takes the same one by another way for a replay: to
   * the user that is a tunnel that closed, so that he signs another request and does not give up.
   */
  const said = (error: AppError): AppError =>
    passedBy && error.code === 'ERR_PROOF_INVALID'
      ? new AppError('ERR_TUNNEL_CLOSED', undefined, {
          internal: 'asked again by another way, and taken for a replay',
          cause: error,
        })
      : error

  try {
    for await (const way of ways) {
      ask(way)
      const quiet = silence(way)
      while (pending.size > 0) {
        const outcome = await Promise.race([...pending, quiet])
        if (!outcome) break
        const answer = take(outcome)
        if (answer) return answer
      }
      if (refusal && pending.size === 0) throw said(refusal)
    }
    while (pending.size > 0) {
      const answer = take(await Promise.race(pending))
      if (answer) return answer
    }
    throw refusal ? said(refusal) : new AppError('ERR_RESOURCE_OFFLINE')
  } finally {
    won.abort(new AppError('ERR_STREAM_RESET', 'another way was quicker'))
    for (const late of pending)
      void late.then((outcome) => 'stream' in outcome && outcome.stream.reset('ERR_STREAM_RESET'))
  }
}

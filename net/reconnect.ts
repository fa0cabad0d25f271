/** Keeps one tunnel connected: the retry policy, apart from the attempt. */
import { AppError, toAppError } from '../core/errors.ts'
import { sleep, type Clock } from '../core/clock.ts'
import { LIMITS } from '../core/limits.ts'
import type { Random } from '../core/random.ts'
import { backoff } from './backoff.ts'
import { hopeFor } from './patience.ts'
import type { ConnectedTunnel } from './tunnel-client.ts'

export type ConnectionState =
  | { readonly state: 'connecting'; readonly attempt: number }
  | { readonly state: 'connected'; readonly tunnel: ConnectedTunnel }
  /** Lost, told to go elsewhere (`leaving`: the old tunnel still works), or never reached; the next try is in `retryIn` ms. */
  | {
      readonly state: 'waiting'
      readonly error: AppError | undefined
      readonly retryIn: number
      readonly leaving: boolean
    }
  | { readonly state: 'stopped'; readonly error: AppError | undefined }

export interface ReconnectHooks {
  onGoAway(comeBackMs: number): void
  onClose(err?: AppError): void
  /** Traffic waits and the peer is silent (true), or it spoke again (false). */
  onSuspect(suspect: boolean): void
}

export interface KeepConnectedOptions {
  /** One attempt. The hooks must be given to the tunnel as its onGoAway, onClose and onSuspect. */
  connect(signal: AbortSignal, hooks: ReconnectHooks): Promise<ConnectedTunnel>
  readonly clock: Clock
  readonly random: Random
  /** Ends it: the tunnel is closed in good order. */
  readonly signal: AbortSignal
  onState?: ((state: ConnectionState) => void) | undefined
  /** Streams wait to be resumed on the next tunnel: unless `covered`, the pause is kept short, however often the last ones fell. */
  awaited?: (() => boolean) | undefined
  /** The tunnel in use is not to be counted on any more: it fell silent or was told to leave. Another is dialled now. */
  onUncounted?: (() => void) | undefined
  /** Is somebody else in reach through another tunnel? Then one that was told to leave need not wait for its successor. */
  covered?: (() => boolean) | undefined
  /** A tunnel that was told to leave, and served until now, is closed. */
  onLeft?: (() => void) | undefined
  /** Calls back when something makes every connection doubtful, as a changed address does. The answer ends that. */
  onDoubt?: ((fn: () => void) => () => void) | undefined
  /** Pause before try number `attempt`, in place of the usual one. */
  pause?: ((attempt: number, error: AppError | undefined) => number | undefined) | undefined
  /** Stop for good on this error? Default: never (an agent must come back whatever happened). */
  isFatal?: ((error: AppError) => boolean) | undefined
}

/** Why a tunnel is not to be counted on any more. */
type Ended =
  | { readonly why: 'closed'; readonly error: AppError | undefined }
  /** `closed` resolves when the old tunnel takes nothing any more. */
  | {
      readonly why: 'going away'
      readonly comeBackMs: number
      readonly closed: Promise<void>
    }
  /** It may be dead: another is dialled at once, and it goes when that one is there or after a while. */
  | { readonly why: 'suspect' }
  | { readonly why: 'stopped' }

/** A tunnel that stood for this long was a success: the next backoff starts from the beginning. */
const STOOD = LIMITS.backoffMax.value

/** The part of its usual pause that a first try takes when somebody waits for it. */
const SOON = 1 / 5

const isNeeded = ({ awaited, covered }: KeepConnectedOptions): boolean =>
  awaited?.() === true && covered?.() !== true

function pauseAfter(
  attempt: number,
  error: AppError | undefined,
  options: KeepConnectedOptions,
): number {
  const { random } = options
  if (!isNeeded(options)) return backoff(attempt, error, random)
  const pause = backoff(0, error, random)
  return attempt === 0 && error?.details?.retryAfter === undefined ? pause * SOON : pause
}

/**
 * Resolves when the signal aborts or an error is fatal. After GOAWAY it dials again within the time asked, and at once when the old
 * tunnel ended and somebody waits; until another tunnel stands the old one takes streams as before. Then the other end is told, and
 * it is closed when its streams are done.
 */
export async function keepConnected(options: KeepConnectedOptions): Promise<void> {
  const { clock, random, signal } = options
  const say = (state: ConnectionState) => options.onState?.(state)
  let attempt = 0
  let fatal: AppError | undefined
  const leaving = new Set<() => void>()
  while (!signal.aborted && !fatal) {
    say({ state: 'connecting', attempt })
    const startedAt = clock.monotonic()
    const ended = await oneLife(options, say, leaving)
    if (ended.why === 'stopped') break
    const error = ended.why === 'closed' ? ended.error : undefined
    if (error && options.isFatal?.(error)) {
      fatal = error
      break
    }
    if (clock.monotonic() - startedAt >= STOOD) attempt = 0
    const retryIn =
      ended.why === 'going away'
        ? Math.min(ended.comeBackMs, LIMITS.goAwayMax.value) * (0.5 + random.float() / 2)
        : (options.pause?.(attempt, error) ?? pauseAfter(attempt, error, options))
    attempt++
    // A suspect tunnel still counts until another one is there.
    if (ended.why === 'suspect') continue
    say({ state: 'waiting', error, retryIn, leaving: ended.why === 'going away' })
    const needed = new AbortController()
    if (ended.why === 'going away')
      void ended.closed.then(() => {
        options.onLeft?.()
        if (isNeeded(options)) needed.abort()
      })
    // Of each signal made from a lasting one something stays behind: none for the tries of a machine without a network.
    const rest = ended.why === 'going away' ? AbortSignal.any([signal, needed.signal]) : signal
    await sleep(clock, retryIn, rest).catch(() => undefined)
    if (needed.signal.aborted)
      await sleep(clock, pauseAfter(0, undefined, options), signal).catch(() => undefined)
  }
  say({ state: 'stopped', error: fatal })
}

/**
 * One attempt and the life of the tunnel it gave, until the tunnel is not to be counted on any more. Tunnels that wait for a
 * successor are in `leaving`, by what tells them that there is one.
 */
async function oneLife(
  options: KeepConnectedOptions,
  say: (state: ConnectionState) => void,
  leaving: Set<() => void>,
): Promise<Ended> {
  const { signal } = options
  let end: (ended: Ended) => void = () => undefined
  const ended = new Promise<Ended>((resolve) => {
    end = resolve
  })
  let silent = false
  let calm: (() => void) | undefined
  let over: () => void = () => undefined
  const closed = new Promise<void>((resolve) => {
    over = resolve
  })
  const onAbort = () => end({ why: 'stopped' })
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const tunnel = await options.connect(signal, {
      onGoAway: (comeBackMs) => end({ why: 'going away', comeBackMs, closed }),
      onClose(error) {
        end({ why: 'closed', error })
        over()
      },
      onSuspect(suspect) {
        silent = suspect
        if (suspect) end({ why: 'suspect' })
      },
    })
    if (!signal.aborted) say({ state: 'connected', tunnel })
    for (const leave of [...leaving]) leave()
    calm = options.onDoubt?.(() => {
      // Nothing need be waiting there: a tunnel that is dead now would be noticed by the first who wants something.
      silent = true
      const timer = options.clock.after(LIMITS.suspectAfter.value, () => end({ why: 'suspect' }))
      const alive = (): void => {
        silent = false
        timer.cancel()
      }
      tunnel.session.ping().then(alive, () => timer.cancel())
    })
    const result = await ended
    options.onUncounted?.()
    if (result.why === 'suspect') closeIfSilent(tunnel, options, () => silent)
    if (result.why === 'going away') leaveWhenCovered(tunnel, options, leaving)
    else if (result.why === 'suspect') closeWhenIdle(tunnel, options, () => true)
    else tunnel.session.close()
    return result
  } catch (e) {
    return signal.aborted ? { why: 'stopped' } : { why: 'closed', error: toAppError(e) }
  } finally {
    calm?.()
    signal.removeEventListener('abort', onAbort)
  }
}

/** A suspect tunnel that has not spoken again by then is given up, with all that still waits on it. */
function closeIfSilent(
  { session }: ConnectedTunnel,
  { clock }: KeepConnectedOptions,
  silent: () => boolean,
): void {
  hopeFor(session, clock, () => {
    if (silent()) session.close(new AppError('ERR_TUNNEL_CLOSED', 'The proxy went silent'))
  })
}

/** Make before break: whoever is reached through this tunnel alone stays in reach. */
function leaveWhenCovered(
  tunnel: ConnectedTunnel,
  options: KeepConnectedOptions,
  leaving: Set<() => void>,
): void {
  let left = false
  const leave = (): void => {
    left = true
    leaving.delete(leave)
    tunnel.session.goAway(0)
  }
  const mayClose = (): boolean => {
    if (!left && (tunnel.session.closed || options.covered?.() === true)) leave()
    return left
  }
  leaving.add(leave)
  mayClose()
  closeWhenIdle(tunnel, options, mayClose)
}

/** The old tunnel goes when its last stream does, or when everything stops. */
function closeWhenIdle(
  { session }: ConnectedTunnel,
  options: KeepConnectedOptions,
  mayClose: () => boolean,
): void {
  const done = () => {
    timer.cancel()
    options.signal.removeEventListener('abort', done)
    session.close()
  }
  const timer = options.clock.every(LIMITS.drainCheck.value, () => {
    if (session.closed || (mayClose() && session.streams === 0)) done()
  })
  options.signal.addEventListener('abort', done, { once: true })
}

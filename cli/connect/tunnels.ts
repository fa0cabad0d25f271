/**
 * The tunnel of a session: dialled when it is needed, replaced when it broke, when the proxy leaves, and when it went silent with
 * traffic waiting. Streams that can move are told in time; the others stay on the old tunnel while it lives.
 */
import { sleep, type Clock, type Timer } from '../../core/clock.ts'
import { AppError, toAppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import type { Session, SessionHandlers } from '../../core/tunnel/session.ts'
import { hopeFor } from '../../net/patience.ts'
import { dialFirst } from '../../net/dial-first.ts'
import type { ConnectedTunnel } from '../../net/tunnel-client.ts'
import { mayPass } from './persist.ts'

export interface HeldTunnel {
  readonly session: Session
  /** Called once, when this tunnel is not to be counted on any more although it is not closed. */
  readonly onLeaving: Set<() => void>
  /** That has happened. */
  readonly leaving: boolean
  /** New streams had better go through another proxy, if there is one. Those that stand stay here; it ends with the last of them. */
  retire(): void
}

interface Dialled extends HeldTunnel {
  /** Another one was quicker. */
  discard(): void
}

export interface Tunnels {
  /** The tunnel in use, or a new one. Rejects after some rounds over all proxies. */
  connected(): Promise<HeldTunnel>
  close(): void
}

export interface TunnelsDeps {
  proxies(): readonly string[]
  dial(address: string, handlers: SessionHandlers, signal: AbortSignal): Promise<ConnectedTunnel>
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
}

/** Rounds over all proxies before giving up, and the longest pause between two, ms: somebody is waiting. */
const ROUNDS = 4
const PAUSE = 1000

export function createTunnels(deps: TunnelsDeps): Tunnels {
  const { clock, random, signal } = deps
  const all = new Set<Session>()
  let current: Promise<Dialled> | undefined
  // Users spread over the proxies.
  let turn = Math.floor(random.float() * 1000)

  /** One dial, and what becomes of its tunnel. */
  async function dial(address: string, over: () => void, attempt: AbortSignal): Promise<Dialled> {
    const onLeaving = new Set<() => void>()
    const made: { session?: Session; tooLate?: boolean } = {}
    let silent = false
    let leaving = false
    let emptying: Timer | undefined
    const retire = (): void => {
      if (emptying) return
      // Whatever is dialled next begins with another proxy.
      turn++
      over()
      emptying = clock.every(LIMITS.drainCheck.value, () => {
        if (made.session && !made.session.closed && made.session.streams > 0) return
        emptying?.cancel()
        made.session?.close()
      })
    }
    const leave = (): void => {
      leaving = true
      retire()
      const told = [...onLeaving]
      onLeaving.clear()
      for (const fn of told) fn()
    }
    const suspect = (yes: boolean): void => {
      silent = yes
      const { session } = made
      if (!yes || !session) return
      leave()
      hopeFor(session, clock, () => {
        if (silent) session.close(new AppError('ERR_TUNNEL_CLOSED', 'The proxy went silent'))
      })
    }
    const handlers: SessionHandlers = {
      onOpen: (stream) => stream.refuse('ERR_TUNNEL_PROTOCOL', 'users take no streams'),
      onGoAway: leave,
      onSuspect: suspect,
      onClose() {
        if (made.tooLate !== true && !emptying) {
          turn++
          over()
        }
        if (made.session) all.delete(made.session)
      },
    }
    const { session } = await deps.dial(address, handlers, attempt)
    made.session = session
    all.add(session)
    return {
      session,
      onLeaving,
      get leaving() {
        return leaving
      },
      retire() {
        if (deps.proxies().length > 1) retire()
      },
      discard() {
        made.tooLate = true
        session.close()
      },
    }
  }

  async function connect(over: () => void): Promise<Dialled> {
    let last = new AppError('ERR_UNREACHABLE')
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0) await sleep(clock, random.float() * PAUSE, signal)
      const proxies = deps.proxies()
      const first = turn % Math.max(1, proxies.length)
      try {
        return await dialFirst({
          addresses: [...proxies.slice(first), ...proxies.slice(0, first)],
          dial: (address, attempt) => dial(address, over, attempt),
          discard: (late) => late.discard(),
          clock,
          signal,
        })
      } catch (e) {
        last = toAppError(e)
        if (signal.aborted || !last.kind.retryable || !mayPass(last)) throw last
      }
    }
    throw last
  }

  return {
    connected() {
      if (current) return current
      const over = (): void => {
        if (current === attempt) current = undefined
      }
      const attempt: Promise<Dialled> = connect(over)
      current = attempt
      attempt.catch(over)
      return attempt
    },
    close() {
      current = undefined
      // After what the streams have to say, which goes out in the next turn.
      setImmediate(() => {
        for (const session of all) session.close()
      })
    },
  }
}

/**
 * The tunnel of a session: dialled when it is needed, replaced when it broke, when the proxy leaves, and when it went silent with
 * traffic waiting. Streams that can move are told in time; the others stay on the old tunnel while it lives.
 */
import { sleep, type Clock } from '../../core/clock.ts'
import { AppError, toAppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import type { Session, SessionHandlers } from '../../core/tunnel/session.ts'
import { hopeFor } from '../../net/patience.ts'
import type { ConnectedTunnel } from '../../net/tunnel-client.ts'

export interface HeldTunnel {
  readonly session: Session
  /** Called once, when this tunnel is not to be counted on any more although it is not closed. */
  readonly onLeaving: Set<() => void>
}

export interface Tunnels {
  /** The tunnel in use, or a new one. Rejects after some rounds over all proxies. */
  connected(): Promise<HeldTunnel>
  close(): void
}

export interface TunnelsDeps {
  proxies(): readonly string[]
  dial(address: string, handlers: SessionHandlers): Promise<ConnectedTunnel>
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
  let current: Promise<HeldTunnel> | undefined
  let turn = 0

  /** One dial, and what becomes of its tunnel. */
  async function dial(address: string, over: () => void): Promise<HeldTunnel> {
    const onLeaving = new Set<() => void>()
    const made: { session?: Session } = {}
    let silent = false
    const leave = (): void => {
      over()
      const told = [...onLeaving]
      onLeaving.clear()
      for (const fn of told) fn()
      // New streams go elsewhere from now on, so it empties.
      const timer = clock.every(LIMITS.drainCheck.value, () => {
        if (made.session && !made.session.closed && made.session.streams > 0) return
        timer.cancel()
        made.session?.close()
      })
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
    const { session } = await deps.dial(address, {
      onOpen: (stream) => stream.refuse('ERR_TUNNEL_PROTOCOL', 'users take no streams'),
      onGoAway: leave,
      onSuspect: suspect,
      onClose() {
        over()
        if (made.session) all.delete(made.session)
      },
    })
    made.session = session
    all.add(session)
    return { session, onLeaving }
  }

  async function connect(over: () => void): Promise<HeldTunnel> {
    let last = new AppError('ERR_UNREACHABLE')
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0) await sleep(clock, random.float() * PAUSE, signal)
      const proxies = deps.proxies()
      for (let i = 0; i < proxies.length; i++) {
        try {
          return await dial(proxies[turn % proxies.length] ?? '', over)
        } catch (e) {
          // The next dial, of this round or after a break, begins with the next proxy.
          turn++
          last = toAppError(e)
          if (signal.aborted || !last.kind.retryable) throw last
        }
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
      const attempt: Promise<HeldTunnel> = connect(over)
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

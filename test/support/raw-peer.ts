/** A peer that speaks frames by hand, so that tests can break every rule of the protocol, and a session on a hand clock. */
import type { AppError } from '../../core/errors.ts'
import { createDecoder } from '../../core/tunnel/codec.ts'
import { header, withPayload, type ControlFrame } from '../../core/tunnel/frame.ts'
import { createSession, type Session, type SessionHandlers } from '../../core/tunnel/session.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import { TUNNEL_LIMITS, type TunnelLimits } from '../../core/tunnel/tunnel-limits.ts'
import { createWindowBudget } from '../../core/tunnel/window-budget.ts'
import type { Transport } from '../../core/tunnel/transport.ts'
import { handClock, type HandClock } from './clock.ts'

export interface RawPeer {
  readonly session: Session
  readonly clock: HandClock
  readonly offered: TunnelStream[]
  /** Control frames the session sent so far; `turn()` first. */
  readonly heard: ControlFrame[]
  /** DATA payload bytes the session sent so far. */
  data: number
  /** Why the session closed; undefined while it is open. */
  closed: { readonly err: AppError | undefined } | undefined
  readonly suspicions: boolean[]
  readonly callbackErrors: unknown[]
  /** While false the transport takes bytes and sends none. */
  reading: boolean
  send(...frames: readonly (Buffer | readonly Buffer[])[]): void
  /** Lets the session write what it has. */
  turn(): void
  open(id: number, payload?: string): void
}

export const frame = header
export const framed = (type: number, id: number, payload: string): Buffer =>
  Buffer.concat(withPayload(type, id, Buffer.from(payload)))

export function rawPeer(
  options: {
    readonly limits?: Partial<TunnelLimits>
    readonly handlers?: Partial<SessionHandlers>
    readonly budget?: number
    readonly side?: 'client' | 'server'
  } = {},
): RawPeer {
  const clock = handClock()
  const turns: (() => void)[] = []
  const decoder = createDecoder(
    {
      control: (f) => {
        peer.heard.push(f)
        return undefined
      },
      dataHeader: () => undefined,
      dataPiece: (piece) => {
        peer.data += piece.length
      },
      dataEnd: () => undefined,
    },
    TUNNEL_LIMITS,
  )
  let held = 0
  const transport: Transport = {
    ondata: undefined,
    ondrain: undefined,
    onend: undefined,
    get buffered() {
      return held
    },
    writev(bufs, bytes) {
      if (!peer.reading) {
        held += bytes
        return
      }
      for (const b of bufs) {
        const violation = decoder.push(b)
        if (violation) throw violation
      }
    },
    close: () => undefined,
  }
  const session = createSession(transport, {
    side: options.side ?? 'server',
    clock,
    budget: createWindowBudget(options.budget),
    limits: options.limits,
    nextTurn: (fn) => turns.push(fn),
    onOpen: (stream) => void peer.offered.push(stream),
    onClose: (err) => {
      peer.closed = { err }
    },
    onSuspect: (yes) => peer.suspicions.push(yes),
    onCallbackError: (e) => peer.callbackErrors.push(e),
    ...options.handlers,
  })
  const peer: RawPeer = {
    session,
    clock,
    offered: [],
    heard: [],
    data: 0,
    closed: undefined,
    suspicions: [],
    callbackErrors: [],
    reading: true,
    send(...frames) {
      transport.ondata?.(Buffer.concat(frames.flatMap((f) => (Buffer.isBuffer(f) ? [f] : [...f]))))
    },
    turn() {
      for (const fn of turns.splice(0)) fn()
    },
    open(id, payload = '') {
      peer.send(framed(4, id, payload))
    },
  }
  return peer
}

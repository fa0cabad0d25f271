/**
 * New connections begin a few in each turn of the event loop. When thousands come at once, a TLS server otherwise begins them all: each takes
 * a millisecond or two to sign for, so whoever is in the middle of a handshake waits behind all of them, runs into its deadline and comes
 * again, and hardly anybody gets through. A slow peer holds up nobody, because nothing here waits for one.
 *
 * The newest begins first: who has waited for long is about to give up, and signing for it would be for nothing.
 */
import type { Server, Socket } from 'node:net'
import { LIMITS } from '../../core/limits.ts'

export interface InTurnLimits {
  /** Connections that begin in one turn. */
  readonly perTurn: number
  /** Connections that wait for their turn; above it the oldest is closed. */
  readonly waiting: number
}

const DEFAULTS: InTurnLimits = {
  perTurn: LIMITS.acceptPerTurn.value,
  waiting: LIMITS.acceptWaiting.value,
}

/** The peer has closed its side: nobody reads there, so no event says it. In a Node where this looks different it begins in vain. */
const left = (socket: Socket): boolean =>
  socket.destroyed ||
  (socket as { readonly _readableState?: { readonly ended?: boolean } })._readableState?.ended ===
    true

/** Stands before the server's own listener for connections. The answer closes whoever still waits, and all that come later. */
export function acceptInTurn(server: Server, limits: InTurnLimits = DEFAULTS): () => void {
  const listeners = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection')
  const waiting: Socket[] = []
  let scheduled = false
  let over = false

  function turn(): void {
    scheduled = false
    for (let begun = 0; begun < limits.perTurn;) {
      const socket = waiting.pop()
      if (!socket) return
      if (left(socket)) {
        socket.destroy()
        continue
      }
      begun += 1
      for (const begin of listeners) begin.call(server, socket)
    }
    schedule()
  }
  function schedule(): void {
    if (scheduled || waiting.length === 0) return
    scheduled = true
    setImmediate(turn)
  }

  server.on('connection', (socket: Socket) => {
    // Nobody else listens before its turn, and an error without a listener would end the process.
    socket.on('error', () => socket.destroy())
    if (over) return void socket.destroy()
    waiting.push(socket)
    if (waiting.length > limits.waiting) waiting.shift()?.destroy()
    schedule()
  })
  return () => {
    over = true
    for (const socket of waiting.splice(0)) socket.destroy()
  }
}

/**
 * Joining two byte pipes without a Duplex in between. Credit is passed on: one side is told `consumed` only when the other
 * took the bytes, so a reader that stops stalls the sender at the far end and nobody holds more than a window.
 */
import type { Duplex } from 'node:stream'
import { AppError, toAppError } from '../errors.ts'
import { gatherInto } from './gather.ts'
import type { Session } from './session.ts'
import type { TunnelStream } from './stream.ts'

/** Joins two streams of two tunnels: bytes, half-close, reset with its reason and credit all pass through. Starts both. */
export function spliceStreams(a: TunnelStream, b: TunnelStream): void {
  forward(a, b)
  forward(b, a)
  // A side that is over already called onclose before it was set here. Its reason passes as it would have: to a resumable stream a
  // broken leg and a reset by the other end are two things.
  if (a.state === 'closed') b.reset(a.error?.code, a.error?.message)
  else if (b.state === 'closed') a.reset(b.error?.code, b.error?.message)
  a.start()
  b.start()
}

function forward(from: TunnelStream, to: TunnelStream): void {
  let owed = 0
  from.borrows = true
  from.ondata = (bytes) => {
    const n = bytes.length
    if (to.writeCopy(bytes) && owed === 0) from.consumed(n)
    else owed += n
  }
  to.ondrain = () => {
    const n = owed
    owed = 0
    if (n > 0) from.consumed(n)
  }
  from.onend = () => to.end()
  from.onclose = (err) => {
    if (err) to.reset(err.code, err.message)
  }
}

/** Reads a socket from here on. The bytes may be good during the call only. */
export type Reader<S extends Duplex> = (socket: S, onBytes: (bytes: Buffer) => void) => void

/**
 * Joins a stream and a socket (or any Duplex). Starts the stream. A reset aborts the socket; a socket error resets. `read`: how
 * the socket is read; the default is its 'data' events, each with a buffer of its own.
 */
export function spliceSocket<S extends Duplex>(
  stream: TunnelStream,
  socket: S,
  read?: Reader<S>,
): void {
  /** Written, but the socket has more than it likes. */
  let owed = 0
  const taken = (room: boolean, n: number) => {
    if (room && owed === 0) stream.consumed(n)
    else owed += n
  }
  const gather = gatherInto(socket, taken)
  stream.borrows = true
  stream.ondata = (bytes) => gather.push(bytes)
  socket.on('drain', () => {
    const n = owed
    owed = 0
    if (n > 0) stream.consumed(n)
  })
  stream.onend = () => {
    gather.flush()
    socket.end()
  }
  stream.ondrain = () => socket.resume()
  stream.onclose = (err) => {
    if (err) abort(socket)
  }
  const pauseWhenFull = (room: boolean) => {
    if (!room && stream.state === 'open') socket.pause()
  }
  if (read) read(socket, (bytes) => pauseWhenFull(stream.writeCopy(bytes)))
  else socket.on('data', (bytes: Buffer) => pauseWhenFull(stream.write(bytes)))
  socket.on('end', () => stream.end())
  socket.on('error', (err) => stream.reset('ERR_STREAM_RESET', reasonOfSocket(err)))
  // Closed without an error and without both ends: the rest cannot be delivered any more.
  socket.on('close', () => {
    if (!socket.readableEnded || !socket.writableFinished) stream.reset()
  })
  if (stream.state === 'closed' || socket.destroyed) {
    stream.reset()
    abort(socket)
    return
  }
  stream.start()
}

/** TCP: with RST, because after an ordinary close the peer would take what it has for everything. */
function abort(socket: Duplex & { resetAndDestroy?(): unknown; connecting?: boolean }): void {
  if (socket.resetAndDestroy && !socket.connecting)
    try {
      socket.resetAndDestroy()
    } catch {
      // Not TCP underneath: there is no RST to send.
    }
  socket.destroy()
}

/** The error's short code (ECONNRESET), which says enough and shows no address of the private network. */
function reasonOfSocket(err: Error): string | undefined {
  const code = (err as NodeJS.ErrnoException).code
  return typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? code : undefined
}

/**
 * Answers an offered stream by opening its like on another tunnel: the answer, or the refusal, is passed back, then both
 * are spliced. Resolves when they are; rejects with what the offered stream was refused with.
 */
export async function relayStream(
  offered: TunnelStream,
  to: Session,
  payload: Buffer,
): Promise<TunnelStream> {
  const gaveUp = new AbortController()
  offered.onclose = (err) => gaveUp.abort(err ?? new AppError('ERR_STREAM_RESET'))
  try {
    const onward = await to.open(payload, gaveUp.signal)
    if (offered.state === 'closed') {
      onward.reset()
      throw gaveUp.signal.reason
    }
    offered.accept(onward.payload)
    spliceStreams(offered, onward)
    return onward
  } catch (e) {
    const err = toAppError(e)
    offered.refuse(err.code, err.message)
    throw err
  }
}

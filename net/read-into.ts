/**
 * Reading a socket without a new buffer for each read.
 *
 * Node has this as the `onread` option of net.connect and tls.connect, but neither for what a server accepts nor for TLS over
 * a socket that exists already, and the tunnel needs both (nodejs/node issue 63956). So the option is set afterwards, the
 * way Node's own constructor does; a Node in which that looks different gets ordinary 'data' events, which are slower and
 * nothing else. docs/adr/0031 has the figures.
 */
import type { Socket } from 'node:net'

/** What SSL_read gives at once is 16 KiB, a TCP read at most 64 KiB. */
const SHARED_BYTES = 64 * 1024
/**
 * One for the process: between the read and the end of the callback nothing else is read. A buffer for each of ten thousand
 * idle tunnels would be most of their memory.
 */
const shared = Buffer.allocUnsafeSlow(SHARED_BYTES)

interface Handle {
  useUserBuffer?(buffer: Buffer): void
}
type Slots = Record<symbol, unknown>

interface Symbols {
  readonly buffer: symbol
  readonly callback: symbol
}
/** The same for every socket, and looked for once. */
let symbols: Symbols | undefined

function symbolsOf(socket: Socket): Symbols | undefined {
  if (symbols && symbols.buffer in socket && symbols.callback in socket) return symbols
  const own = Object.getOwnPropertySymbols(socket)
  const named = (name: string) => own.find((symbol) => symbol.description === name)
  const [buffer, callback] = [named('kBuffer'), named('kBufferCb')]
  if (buffer && callback) symbols = { buffer, callback }
  return buffer && callback && { buffer, callback }
}

/** True: it is set up, and `onBytes` gets views of the shared buffer. */
function useShared(socket: Socket, onBytes: (bytes: Buffer) => void): boolean {
  const handle = (socket as unknown as { readonly _handle?: Handle | null })._handle
  const of = symbolsOf(socket)
  if (!of || typeof handle?.useUserBuffer !== 'function') return false
  const slots = socket as unknown as Slots
  slots[of.buffer] = shared
  slots[of.callback] = (n: number) => {
    onBytes(shared.subarray(0, n))
    return true
  }
  handle.useUserBuffer(shared)
  return true
}

/**
 * Calls `onBytes` for everything that arrives from here on, what is buffered in the socket first. The bytes are good during
 * the call only. 'end', 'error', 'close', `pause` and `resume` of the socket work as always.
 */
export function readInto(socket: Socket, onBytes: (bytes: Buffer) => void): void {
  for (let held = readHeld(socket); held; held = readHeld(socket)) onBytes(held)
  // Who listens already would see nothing of what goes past 'data'.
  const alone = socket.listenerCount('data') === 0
  if (socket.destroyed || !alone || !useShared(socket, onBytes)) socket.on('data', onBytes)
  socket.resume()
}

const readHeld = (socket: Socket): Buffer | null =>
  socket.readableLength > 0 ? (socket.read() as Buffer | null) : null

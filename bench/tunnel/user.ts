/** What users do, by plain TCP to a port of the path under test: move bulk, wait for echoes, open many. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const BLOCK = Buffer.alloc(262_144, 'postern ')

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  await once(socket, 'connect')
  return socket
}
const seconds = (since: number) => (performance.now() - since) / 1000

/** MB/s from user to target, the target's answer after the last byte included. */
export async function bulkUp(port: number, bytes: number): Promise<number> {
  const socket = await dial(port)
  const answered = once(socket, 'data')
  const start = performance.now()
  socket.write('s')
  for (let left = bytes; left > 0; left -= BLOCK.length)
    if (!socket.write(BLOCK)) await once(socket, 'drain')
  socket.end()
  await answered
  socket.destroy()
  return bytes / 1e6 / seconds(start)
}

/** MB/s from target to user. Rejects when bytes are missing. */
export async function bulkDown(port: number, bytes: number): Promise<number> {
  const socket = await dial(port)
  let got = 0
  socket.on('data', (b: Buffer) => (got += b.length))
  const start = performance.now()
  socket.write(`g${bytes}`)
  await once(socket, 'end')
  const took = seconds(start)
  socket.destroy()
  if (got < bytes) throw new Error(`${got} of ${bytes} bytes`)
  return bytes / 1e6 / took
}

export interface Echo {
  readonly p50: number
  readonly p99: number
}
/** Microseconds of a 64-byte round trip, one at a time. */
export async function echo(port: number, count: number): Promise<Echo> {
  const socket = await dial(port)
  socket.write('e')
  const message = Buffer.alloc(64, 1)
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    socket.write(message)
    for (let got = 0; got < message.length;)
      got += ((await once(socket, 'data')) as [Buffer])[0].length
    if (i >= count / 10) times.push((performance.now() - start) * 1000)
  }
  socket.destroy()
  times.sort((a, b) => a - b)
  const at = (q: number) => times[Math.floor(times.length * q)] ?? NaN
  return { p50: at(0.5), p99: at(0.99) }
}

/** The same while another stream saturates the path towards the user. */
export async function echoBesideBulk(port: number, count: number): Promise<Echo> {
  const bulk = await dial(port)
  bulk.resume()
  bulk.on('error', () => undefined)
  bulk.write('g1000000000000')
  await once(bulk, 'data')
  const result = await echo(port, count)
  bulk.destroy()
  return result
}

/** Streams opened per second: connect, one byte there and back, `parallel` at a time. */
export async function opens(port: number, count: number, parallel: number): Promise<number> {
  let left = count
  const start = performance.now()
  const one = async () => {
    while (left-- > 0) {
      const socket = await dial(port)
      const back = once(socket, 'data')
      socket.write('e.')
      await back
      socket.destroy()
    }
  }
  await Promise.all(Array.from({ length: parallel }, one))
  return count / seconds(start)
}

/** Sum of MB/s over `streams` at once, and Jain's index of how equal they were. */
export async function many(
  port: number,
  streams: number,
  bytes: number,
): Promise<{ readonly sum: number; readonly fairness: number }> {
  const each = Math.ceil(bytes / streams / BLOCK.length) * BLOCK.length
  const start = performance.now()
  const rates = await Promise.all(Array.from({ length: streams }, () => bulkDown(port, each)))
  const sum = (each * streams) / 1e6 / seconds(start)
  const squares = rates.reduce((s, r) => s + r * r, 0)
  return { sum, fairness: rates.reduce((s, r) => s + r, 0) ** 2 / (streams * squares) }
}

/** Opens downloads that are never read, and waits until nothing more of them arrives. The answer ends them. */
export async function stalled(port: number, streams: number): Promise<() => void> {
  const sockets = await Promise.all(Array.from({ length: streams }, () => dial(port)))
  for (const socket of sockets) {
    socket.on('error', () => undefined)
    socket.pause()
    socket.write('g1000000000000')
  }
  await new Promise((resolve) => setTimeout(resolve, 2000))
  return () => {
    for (const socket of sockets) socket.destroy()
  }
}

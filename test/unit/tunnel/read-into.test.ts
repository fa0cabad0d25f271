// Reading without a buffer for each read: the same bytes either way, and loud when a new Node no longer offers it.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readInto } from '../../../net/read-into.ts'

let server: ReturnType<typeof createServer>
let near: Socket
let far: Socket
beforeEach(async () => {
  server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  near = connect((server.address() as AddressInfo).port, '127.0.0.1')
  ;[far] = (await once(server, 'connection')) as [Socket]
})
afterEach(() => {
  near.destroy()
  far.destroy()
  server.close()
})

function collect(socket: Socket): { text: () => string; memory: Set<ArrayBufferLike> } {
  const parts: string[] = []
  const memory = new Set<ArrayBufferLike>()
  readInto(socket, (bytes) => {
    parts.push(bytes.toString('latin1'))
    memory.add(bytes.buffer)
  })
  return { text: () => parts.join(''), memory }
}

test('every byte arrives, then the end, all in one buffer on this Node', async () => {
  const { text, memory } = collect(far)
  const ended = once(far, 'end')
  for (let i = 0; i < 100; i++) near.write('0123456789'.repeat(1000))
  near.end('.')
  await ended
  expect(text()).toBe('0123456789'.repeat(100_000) + '.')
  expect(memory.size).toBe(1)
})

test('two sockets at once do not see the bytes of each other', async () => {
  const other = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [theirs] = (await once(server, 'connection')) as [Socket]
  const [a, b] = [collect(far), collect(theirs)]
  const ended = [once(far, 'end'), once(theirs, 'end')]
  for (let i = 0; i < 200; i++) {
    near.write('a'.repeat(9973))
    other.write('b'.repeat(9973))
  }
  near.end()
  other.end()
  await Promise.all(ended)
  expect(a.text()).toBe('a'.repeat(200 * 9973))
  expect(b.text()).toBe('b'.repeat(200 * 9973))
  theirs.destroy()
})

test('pause stops it, resume goes on', async () => {
  const { text } = collect(far)
  near.write('first')
  while (text() !== 'first') await new Promise(setImmediate)
  far.pause()
  near.write('second')
  for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  expect(text()).toBe('first')
  const ended = once(far, 'end')
  far.resume()
  near.end()
  await ended
  expect(text()).toBe('firstsecond')
})

test('a reset is an error of the socket, as always', async () => {
  collect(far)
  const error = once(far, 'error')
  near.resetAndDestroy()
  expect(((await error)[0] as NodeJS.ErrnoException).code).toBe('ECONNRESET')
})

test('what has no such option is read by its data events, what waits in it first', async () => {
  const pipe = new PassThrough()
  pipe.write('held ')
  const { text } = collect(pipe as unknown as Socket)
  const ended = once(pipe, 'end')
  pipe.end('and new')
  await ended
  expect(text()).toBe('held and new')
})

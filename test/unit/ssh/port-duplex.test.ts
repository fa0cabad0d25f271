/** The stream between the main thread and a worker: every byte, half-close, backpressure, and an end in every case. */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { MessageChannel } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { portDuplex } from '../../../agent/services/ssh/port-duplex.ts'
import { LIMITS } from '../../../core/limits.ts'

/** Reads to the end. Not by an async iterator, which destroys what it has read. */
function buffer(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return new Promise((resolve, reject) => {
    stream.once('end', () => resolve(Buffer.concat(chunks)))
    stream.once('error', reject)
  })
}

function pair(): [Duplex, Duplex] {
  const { port1, port2 } = new MessageChannel()
  return [portDuplex(port1), portDuplex(port2)]
}

test('bytes arrive whole and in order, in writes of every size', async () => {
  const [a, b] = pair()
  const parts = Array.from({ length: 400 }, (_, i) => Buffer.alloc((i * 997) % 70_000, i))
  const all = buffer(b)
  for (const part of parts) if (!a.write(part)) await once(a, 'drain')
  a.end()
  expect((await all).equals(Buffer.concat(parts))).toBe(true)
  b.end()
  a.resume()
  await once(a, 'close')
})

test('one direction ends, the other goes on', async () => {
  const [a, b] = pair()
  a.end('question')
  expect((await buffer(b)).toString()).toBe('question')
  b.end('answer')
  expect((await buffer(a)).toString()).toBe('answer')
})

test('a side that does not read is sent no more than the window', async () => {
  const [a, b] = pair()
  const chunk = Buffer.alloc(64 * 1024)
  let taken = 0
  const total = (3 * LIMITS.sshRelayWindow.value) / chunk.length
  for (let i = 0; i < total; i++) a.write(chunk, () => (taken += chunk.length))
  await new Promise((resolve) => setImmediate(resolve))
  await once(b, 'readable')
  expect(taken).toBeLessThanOrEqual(LIMITS.sshRelayWindow.value)
  a.end()
  expect((await buffer(b)).length).toBe(total * chunk.length)
  expect(taken).toBe(total * chunk.length)
})

test('destroying one side destroys the other', async () => {
  const [a, b] = pair()
  b.on('error', () => undefined)
  a.destroy()
  await once(b, 'close')
  expect(b.destroyed).toBe(true)
})

// ProxyCommand's two pipes and one stream: every end arrives, nothing is lost, nobody is waited for who is gone.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { joinStdio, nameOf } from '../../../cli/connect/stdio.ts'
import { createSession, type Session } from '../../../core/tunnel/session.ts'
import type { TunnelStream } from '../../../core/tunnel/stream.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { handClock } from '../../support/clock.ts'
import { offers } from '../../support/streams.ts'
import { memoryPair } from '../../support/transports.ts'

/** The two ends of one open stream. */
async function streamPair(): Promise<{ near: TunnelStream; far: TunnelStream; session: Session }> {
  const { client, server } = memoryPair()
  const offered = offers<TunnelStream>()
  const common = { clock: handClock(), budget: createWindowBudget() }
  createSession(server, {
    ...common,
    side: 'server',
    onOpen(stream) {
      stream.accept()
      offered.push(stream)
    },
  })
  const session = createSession(client, {
    ...common,
    side: 'client',
    onOpen: (s) => s.refuse('ERR_INTERNAL'),
  })
  const near = await session.open(Buffer.alloc(0))
  return { near, far: await offered.next(), session }
}

const text = async (stream: PassThrough): Promise<string> => {
  let all = ''
  for await (const part of stream) all += String(part)
  return all
}

test('each end is passed on by itself, and it is over when both have ended', async () => {
  const { near, far } = await streamPair()
  const [stdin, stdout] = [new PassThrough(), new PassThrough()]
  const done = joinStdio(near, stdin, stdout)
  const ended = new Promise<void>((resolve) => (far.onend = resolve))
  let heard = ''
  far.ondata = (bytes) => {
    heard += bytes.toString()
    far.consumed(bytes.length)
  }
  far.start()
  stdin.end('question')
  await ended
  expect(heard).toBe('question')
  far.write(Buffer.from('a late answer'))
  far.end()
  expect(await text(stdout)).toBe('a late answer')
  await done
})

test('what the other side sends before it ends is written before stdout ends', async () => {
  const { near, far } = await streamPair()
  const [stdin, stdout] = [new PassThrough(), new PassThrough({ highWaterMark: 1024 })]
  const done = joinStdio(near, stdin, stdout)
  far.start()
  far.write(Buffer.alloc(1_000_000, 'x'))
  far.end()
  expect(await text(stdout)).toHaveLength(1_000_000)
  stdin.end()
  await done
})

test('over real sockets bytes arrive as they were, both ways', async () => {
  const { near, far } = await streamPair()
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const ssh = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [local] = (await once(server, 'connection')) as [Socket]
  const [up, down] = [randomBytes(3_000_000), randomBytes(3_000_000)]
  const heard: Buffer[] = []
  const ended = new Promise<void>((resolve) => (far.onend = resolve))
  far.ondata = (bytes) => {
    heard.push(bytes)
    far.consumed(bytes.length)
  }
  far.start()
  const done = joinStdio(near, local, local)
  far.write(Buffer.from(down))
  far.end()
  ssh.end(up)
  const read: Buffer[] = []
  for await (const bytes of ssh) read.push(bytes as Buffer)
  await Promise.all([ended, done])
  expect(Buffer.concat(heard).equals(up)).toBe(true)
  expect(Buffer.concat(read).equals(down)).toBe(true)
  server.close()
})

test('a reset is an error with its code and reason', async () => {
  const { near, far } = await streamPair()
  const done = joinStdio(near, new PassThrough(), new PassThrough())
  far.start()
  far.reset('ERR_LOCKED', 'a lock is in force')
  await expect(done).rejects.toMatchObject({ code: 'ERR_LOCKED', message: 'a lock is in force' })
})

test('a tunnel that breaks is an error', async () => {
  const { near, session } = await streamPair()
  const done = joinStdio(near, new PassThrough(), new PassThrough())
  session.close()
  await expect(done).rejects.toMatchObject({ code: 'ERR_TUNNEL_CLOSED' })
})

test('a reader that is gone (EPIPE) ends it without an error and resets the stream', async () => {
  const { near, far } = await streamPair()
  const stdout = new PassThrough()
  const done = joinStdio(near, new PassThrough(), stdout)
  const reset = new Promise((resolve) => (far.onclose = resolve))
  far.start()
  stdout.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
  await done
  expect(await reset).toMatchObject({ code: 'ERR_STREAM_RESET' })
})

test('a stdout that takes nothing stops the sender at one window', async () => {
  const { near, far } = await streamPair()
  const stdout = new PassThrough({ highWaterMark: 1 })
  void joinStdio(near, new PassThrough(), stdout).catch(() => undefined)
  far.start()
  far.write(Buffer.alloc(8 * 1024 * 1024))
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  // The window, and the one frame that went through before stdout was full.
  expect(stdout.readableLength + stdout.writableLength).toBeLessThanOrEqual((256 + 64) * 1024)
})

test.each([
  ['web-1', 'web-1'],
  ['web-1:22', 'web-1'],
  ['WEB-1:22', 'web-1'],
  ['web-1.demo.postern:22', 'web-1'],
  ['web.eu.demo.postern', 'web.eu'],
  ['other.example', 'other.example'],
])('%s names %s', (target, name) => expect(nameOf(target, 'demo.postern')).toBe(name))

test.each(['', ':22', '-oProxyCommand=x', 'a/b', 'a b', '../x', 'x\n', '.demo.postern'])(
  'the host %j is refused by name',
  (target) => expect(() => nameOf(target, 'demo.postern')).toThrow(/host:/),
)

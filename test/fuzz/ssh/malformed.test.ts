/** Bytes that no honest client sends, before and after the handshake: the service refuses them and keeps serving. */
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { connect } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { MessageChannel } from 'node:worker_threads'
import type { Start, ToMain, ToWorker } from '../../../agent/services/ssh/messages.ts'
import { portDuplex } from '../../../agent/services/ssh/port-duplex.ts'
import { serveConnection } from '../../../agent/services/ssh/server/connection.ts'
import { createLink } from '../../../agent/services/ssh/server/link.ts'
import { createSftpWatch } from '../../../agent/services/ssh/server/sftp-watch.ts'
import { refusedAddress } from '../../../agent/services/ssh/addresses.ts'
import { socketPair } from '../../../agent/services/ssh/helper/libc.ts'
import { exportSshPrivateKey } from '../../../core/certs/ssh-private-key.ts'
import { sourceEntry } from '../../../agent/services/ssh/entry.ts'
import { NODE, openWorld, USER, type World } from '../../integration/ssh/world.ts'

let world: World
const links: MessageChannel[] = []
beforeAll(async () => {
  world = await openWorld()
})
afterAll(async () => {
  for (const { port1, port2 } of links) {
    port1.close()
    port2.close()
  }
  await world.close()
})

async function attack(...chunks: Buffer[]): Promise<void> {
  const socket = connect(world.port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.resume()
  for (const chunk of chunks) socket.write(chunk)
  socket.end()
  await once(socket, 'close')
}

/** The same code as in a worker, in this very process: what would end a worker fails the test. */
async function attackHere(start: Omit<Start, 'bytes'>, ...chunks: Buffer[]): Promise<void> {
  const bytes = new MessageChannel()
  const control = new MessageChannel()
  links.push(control)
  const ended = new Promise<void>((resolve) => {
    control.port1.on('message', (message: ToMain) => {
      if (message.kind === 'end') resolve()
    })
  })
  createLink(control.port2, (given, link) => serveConnection(given, link))
  const client = portDuplex(bytes.port1)
  client.on('error', () => undefined).resume()
  const message: ToWorker = { kind: 'start', start: { ...start, bytes: bytes.port2 } }
  control.port1.postMessage(message, [bytes.port2] as never)
  for (const chunk of chunks) client.write(chunk)
  client.end()
  await ended
  for (const fd of start.helperSockets) closeSync(fd)
}

const startFor = (on: World): Omit<Start, 'bytes'> => {
  const { keyPem, sshHostCert = '', cluster } = on.ctx.credential()
  return {
    ident: 'OpenSSH_9.9-Postern',
    hostKey: exportSshPrivateKey(createPrivateKey(keyPem)),
    hostCertificate: Buffer.from(sshHostCert.split(' ')[1] ?? '', 'base64'),
    userCas: on.ctx.policy.userCas().sshBlobs,
    cluster,
    user: USER,
    helper: sourceEntry(on.entries.helper),
    helperSockets: socketPair('messages'),
    sftpServer: undefined,
    environment: { acceptEnv: [], path: '', rootPath: '', source: { host: '', port: 0 } },
  }
}

const packet = (type: number, body: Buffer): Buffer => {
  const padding = 8 - ((5 + 1 + body.length) % 8) + 8
  const head = Buffer.alloc(6)
  head.writeUInt32BE(2 + body.length + padding)
  head.writeUInt8(padding, 4)
  head.writeUInt8(type, 5)
  return Buffer.concat([head, body, Buffer.alloc(padding)])
}
const ident = Buffer.from('SSH-2.0-OpenSSH_9.9 fuzz\r\n')

test('CVE-2026-73564 (frp): 300 broken connections harm nobody', { timeout: 120_000 }, async () => {
  const lengths = [0, 1, 5, 0x7fffffff, 0xffffffff].map((n) => {
    const b = Buffer.alloc(64)
    b.writeUInt32BE(n)
    return b
  })
  const corpus: Buffer[][] = [
    [Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    [Buffer.from('SSH-1.5-old\r\n')],
    [Buffer.from('SSH-2.0-\0\r\n')],
    [Buffer.alloc(20_000, 'A')],
    [Buffer.from('SSH-2.0-x\n\n\n')],
    ...lengths.map((bytes) => [ident, bytes]),
    ...[1, 2, 4, 5, 6, 20, 21, 30, 31, 50, 52, 80, 90, 98, 100, 255].map((type) => [
      ident,
      packet(type, Buffer.alloc(40, 0xff)),
    ]),
    [ident, packet(20, Buffer.concat([Buffer.alloc(16), Buffer.alloc(80, 0xff)]))],
  ]
  const random = fc.sample(fc.uint8Array({ maxLength: 600 }), 300 - corpus.length)
  const all = [
    ...corpus,
    ...random.map((bytes, i) => (i % 2 ? [ident, Buffer.from(bytes)] : [Buffer.from(bytes)])),
  ]
  for (const chunks of all) await attackHere(startFor(world), ...chunks)
  // And some of each kind through threads of their own.
  const few = all.filter((_, i) => i % 15 === 0)
  while (few.length > 0) await Promise.all(few.splice(0, 5).map((chunks) => attack(...chunks)))
  expect(await world.ssh([NODE, 'echo alive'])).toMatchObject({ code: 0, stdout: 'alive\n' })
})

test('any bytes of an sftp session are read along without harm', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 30 }), (chunks) => {
      let told = 0
      const watch = createSftpWatch(() => told++)
      for (const chunk of chunks) watch(Buffer.from(chunk))
      expect(told).toBeLessThanOrEqual(9000)
    }),
    { numRuns: 2000 },
  )
})

test('any text as an address gets an answer', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.ipV4(), fc.ipV6()), (text) => {
      expect(typeof refusedAddress(text)).toBe('boolean')
    }),
    { numRuns: 5000 },
  )
})

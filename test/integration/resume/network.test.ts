// Streams that outlive the network, through the whole gate: a bad network stands between the proxy and everybody else.
import { LIMITS } from '../../../core/limits.ts'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ProxySession } from '../../../cli/connect/session.ts'
import { chaosRelay, type ChaosRelay } from '../../support/chaos-relay.ts'
import { openGate, type Gate, type GateAgent } from '../agent/gate.ts'

const MB = 1_000_000
// POSTERN_TEST_MEGABYTES=1000 for the long run.
const megabytes = Number(process.env['POSTERN_TEST_MEGABYTES'] ?? 64)

/** Bytes that are different everywhere, so that a piece that is lost, doubled or moved shows. */
function* pattern(total: number): Generator<Buffer> {
  for (let at = 0; at < total; at += 65_536) {
    const block = Buffer.alloc(Math.min(65_536, total - at))
    for (let i = 0; i + 4 <= block.length; i += 4)
      block.writeUInt32LE(((at + i) * 2654435761) >>> 0, i)
    yield block
  }
}

async function send(socket: Socket, total: number): Promise<string> {
  const hash = createHash('sha256')
  for (const block of pattern(total)) {
    hash.update(block)
    if (!socket.write(block)) await once(socket, 'drain')
  }
  socket.end()
  return hash.digest('hex')
}

async function receive(socket: Socket): Promise<{ bytes: number; digest: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const part of socket) {
    hash.update(part as Buffer)
    bytes += (part as Buffer).length
  }
  return { bytes, digest: hash.digest('hex') }
}

describe('streams through a network that breaks', () => {
  let gate: Gate
  let relay: ChaosRelay
  let echo: Server
  let running: GateAgent
  let ann: ProxySession
  let port: number

  const dial = (): Socket => connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const resumed = (): number => gate.log.entries.filter((l) => l.event === 'test.resumed').length

  beforeAll(async () => {
    let own = 0
    relay = await chaosRelay(() => own)
    gate = await openGate({
      publicAddress(address) {
        own = Number(address.split(':').at(-1))
        return `127.0.0.1:${relay.port}`
      },
    })
    echo = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined)
      socket.pipe(socket)
    })
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
    const at = (echo.address() as AddressInfo).port
    running = await gate.start({
      token: await gate.mint(),
      services: `app_service: { enabled: true, apps: [{ name: echo, uri: 'tcp://127.0.0.1:${at}' }] }`,
    })
    await running.agent.settled()
    await running.log.seen('announce.done')
    ann = await gate.user('ann', ['access'])
    port = (await gate.listen(ann, 'echo')).port
  })
  afterAll(async () => {
    await gate.close()
    await relay.close()
    echo.close()
  })

  test(`ten cuts in ${megabytes} MB each way, and every byte arrives once and in order`, async () => {
    const before = resumed()
    const socket = dial()
    const got = receive(socket)
    const sent = send(socket, megabytes * MB)
    for (let i = 0; i < 10; i++) {
      // Each byte passes four times: user to proxy, proxy to agent, and back.
      await relay.after((megabytes * MB * 4) / 12)
      relay.cut()
    }
    expect(await got).toEqual({ bytes: megabytes * MB, digest: await sent })
    expect(resumed()).toBeGreaterThan(before)
  }, 180_000)

  test('a session that is idle when the network goes away is there when it is back', async () => {
    const socket = dial()
    socket.write('before')
    expect(String((await once(socket, 'data'))[0])).toBe('before')
    await relay.down()
    socket.write('during')
    await relay.up()
    expect(String((await once(socket, 'data'))[0])).toBe('during')
    const end = receive(socket)
    socket.end('after')
    expect((await end).bytes).toBe(5)
  })

  test('a cut that is seen is mended long before silence would tell', async () => {
    const socket = dial()
    socket.write('x')
    await once(socket, 'data')
    const cut = performance.now()
    relay.cut()
    socket.write('y')
    await once(socket, 'data')
    expect(performance.now() - cut).toBeLessThan(LIMITS.deadAfter.value / 2)
    socket.destroy()
  })

  test('a network that swallows everything is left long before silence would tell', async () => {
    const socket = dial()
    socket.write('x')
    await once(socket, 'data')
    const began = performance.now()
    relay.swallow()
    socket.write('y')
    await once(socket, 'data')
    expect(performance.now() - began).toBeLessThan(LIMITS.deadAfter.value / 2)
    socket.destroy()
  })
})

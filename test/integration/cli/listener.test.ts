/** The listener of `postern up` and `postern serve`: who says nothing holds up nobody else, and who a call is from. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { request } from 'node:https'
import { afterEach, describe, expect, test } from 'vitest'
import { parseServeConfig } from '../../../cli/serve/config.ts'
import { openListener, type Listener } from '../../../cli/up/listener.ts'
import { serverTls } from '../../support/tls.ts'

let listener: Listener | undefined
const silent: Socket[] = []
afterEach(async () => {
  for (const socket of silent.splice(0)) socket.destroy()
  await listener?.close()
})

test('CVE-2026-7776 (Boundary): handshakes that are begun and never ended do not hold up a join', async () => {
  const { options, ca } = await serverTls()
  listener = await openListener(
    { host: '127.0.0.1', port: 0 },
    { key: options.key, chain: options.cert },
    {
      fetch: async () => new Response('let in'),
      handleRequest: () => false,
      handleUpgrade: (_request, socket) => void socket.destroy(),
    },
  )
  const { port } = listener
  for (let i = 0; i < 200; i++) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    silent.push(socket)
    await once(socket, 'connect')
    // The beginning of a ClientHello, and no more of it.
    if (i % 2 === 0) socket.write(Buffer.of(0x16, 3, 1, 2, 0, 1))
  }
  const joined = await new Promise<string>((resolve, reject) => {
    const asked = request(
      { port, host: '127.0.0.1', path: '/v1/join', method: 'POST', ca },
      (answer) => answer.on('data', (bytes: Buffer) => resolve(bytes.toString())),
    )
    asked.on('error', reject)
    asked.end()
  })
  expect(joined).toBe('let in')
  expect(silent.some((socket) => socket.destroyed)).toBe(false)
})

describe('who a call is from', () => {
  const trusting = (networks: string) =>
    parseServeConfig(`version: v1\napi_service: { trusted_proxies: [${networks}] }`, {
      dataDir: '/nowhere',
    }).api.trustedProxies
  test.each([
    ['nobody in front is trusted unless the file names it', '', '127.0.0.1'],
    ['a load balancer that it names is believed', '127.0.0.1', '203.0.113.7'],
    ['another one is not', '10.0.0.0/8', '127.0.0.1'],
  ])('%s', async (_, networks, client) => {
    let seen = ''
    listener = await openListener(
      { host: '127.0.0.1', port: 0 },
      undefined,
      {
        fetch: async (_request, { ip }) => {
          seen = ip
          return new Response()
        },
        handleRequest: () => false,
        handleUpgrade: (_request, socket) => void socket.destroy(),
      },
      trusting(networks),
    )
    const headers = { 'x-forwarded-for': '198.51.100.1, 203.0.113.7' }
    await (await fetch(`http://127.0.0.1:${listener.port}/`, { headers })).text()
    expect(seen).toBe(client)
  })
  test('a network of everybody is refused, and so is a name', () => {
    for (const wrong of ['0.0.0.0/0', 'lb.example.com', '10.0.0.1/8'])
      expect(() => trusting(wrong)).toThrow(
        /api_service.trusted_proxies.0: use an address or a network/,
      )
  })
})

// Our WebSocket against those of others: the ws library on either side, Node's own client, and nginx in between.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { systemClock } from '../../../core/clock.ts'
import type { WebSocketLink } from '../../../net/websocket/link.ts'
import { acceptUpgrade, requestUpgrade } from '../../../net/websocket/upgrade.ts'
import { missing, peer } from '../../support/peers.ts'
import { serverTls, type ServerTls } from '../../support/tls.ts'

const subprotocol = 'postern-tunnel.v1'
const SIZES = [0, 1, 125, 126, 4096, 65_522, 65_535, 65_536, 200_000]
let tls: ServerTls
let server: Server
let port: number
const links: WebSocketLink[] = []

beforeEach(async () => {
  tls = await serverTls()
  server = createServer(tls.options)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
})
afterEach(async () => {
  for (const link of links.splice(0)) link.terminate()
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
})

/** Echoes what it gets: binary as it comes, texts whole. */
function echo(link: WebSocketLink): void {
  links.push(link)
  link.ondata = (piece) => link.sendBinary([piece], piece.length)
  link.ontext = (text) => link.sendText(text.toString())
}
const serveEcho = (also: (link: WebSocketLink) => void = () => undefined): void =>
  void server.on('upgrade', (request, socket, head) =>
    acceptUpgrade(request, socket, head, { subprotocol, clock: systemClock }, (link) => {
      echo(link)
      also(link)
    }),
  )

async function dialOurs(to = port, also: (link: WebSocketLink) => void = () => undefined) {
  const socket = connectTls({ port: to, host: '127.0.0.1', ca: tls.ca })
  await once(socket, 'secureConnect')
  const url = new URL(`wss://127.0.0.1:${to}/v1/tunnel`)
  const upgraded = await requestUpgrade(url, socket, { subprotocol, clock: systemClock })
  if (!('link' in upgraded)) throw new Error(`status ${upgraded.refused.statusCode ?? 0}`)
  links.push(upgraded.link)
  also(upgraded.link)
  upgraded.link.start(upgraded.head)
  return upgraded.link
}
const dialWs = (options: object = {}) =>
  new WebSocket(`wss://127.0.0.1:${port}/v1/tunnel`, subprotocol, { ca: tls.ca, ...options })

const pattern = (n: number): Buffer => Buffer.from(Array.from({ length: n }, (_, i) => i & 0xff))

/** Sends each size and resolves when all came back in order. */
function roundTrips(
  send: (b: Buffer) => void,
  onPiece: (fn: (b: Buffer) => void) => void,
): Promise<void> {
  const all = Buffer.concat(SIZES.map(pattern))
  return new Promise((resolve, reject) => {
    const got: Buffer[] = []
    let bytes = 0
    onPiece((piece) => {
      got.push(Buffer.from(piece))
      bytes += piece.length
      if (bytes < all.length) return
      if (Buffer.concat(got).equals(all)) resolve()
      else reject(new Error('other bytes came back'))
    })
    for (const size of SIZES) send(pattern(size))
  })
}

describe('a client of the ws library at our server', () => {
  test.each<[string, object]>([
    ['a random mask', {}],
    ['a zero mask', { generateMask: (mask: Buffer) => void mask.fill(0) }],
    ['compression offered', { perMessageDeflate: true }],
  ])('with %s, gets back what it sent', async (_how, options) => {
    serveEcho()
    const ws = dialWs(options)
    await once(ws, 'open')
    expect(ws.extensions).toBe('')
    await roundTrips(
      (b) => ws.send(b),
      (fn) => ws.on('message', (data: Buffer) => fn(data)),
    )
    ws.close()
    await once(ws, 'close')
  })

  test('may send a message in fragments with a ping between them', async () => {
    serveEcho()
    const ws = dialWs()
    await once(ws, 'open')
    const pong = once(ws, 'pong')
    const text = once(ws, 'message')
    ws.send('in ', { fin: false })
    ws.ping('there?')
    ws.send('parts', { fin: true })
    expect(String((await pong)[0])).toBe('there?')
    expect(String((await text)[0])).toBe('in parts')
    ws.terminate()
  })

  test('learns our close code and reason, and we learn its', async () => {
    const codes: (number | string)[] = []
    let done: () => void = () => undefined
    const both = new Promise<void>((resolve) => (done = resolve))
    serveEcho((link) => {
      link.onclose = (code, reason) => {
        codes.push(code, reason)
        if (codes.length === 4) done()
      }
    })
    const first = dialWs()
    await once(first, 'open')
    const told = once(first, 'close')
    links[0]?.close(4403, 'ERR_LOCKED')
    const [code, reason] = (await told) as [number, Buffer]
    expect([code, reason.toString()]).toEqual([4403, 'ERR_LOCKED'])
    const second = dialWs()
    await once(second, 'open')
    second.close(1001, 'gone for lunch')
    await both
    expect(codes).toContain(1001)
    expect(codes).toContain('gone for lunch')
  })

  test('that breaks a rule is told 1009, and the connection ends', async () => {
    serveEcho()
    const ws = dialWs()
    ws.on('error', () => undefined)
    await once(ws, 'open')
    const closed = once(ws, 'close')
    ws.send(Buffer.alloc(600_000))
    expect((await closed)[0]).toBe(1009)
  })
})

test('our client at a server of the ws library gets back what it sent, and hears its close', async () => {
  const theirs = new WebSocketServer({ server, perMessageDeflate: true })
  theirs.on('connection', (ws) =>
    ws.on('message', (data: Buffer, binary) => ws.send(data, { binary })),
  )
  const link = await dialOurs()
  await roundTrips(
    (b) => link.sendBinary([b.subarray(0, 10), b.subarray(10)], b.length),
    (fn) => (link.ondata = fn),
  )
  const text = new Promise<string>((resolve) => (link.ontext = (t) => resolve(t.toString())))
  link.sendText('grüezi')
  expect(await text).toBe('grüezi')
  const closed = new Promise<[number, string]>((resolve) => {
    link.onclose = (code, reason) => resolve([code, reason])
  })
  for (const ws of theirs.clients) ws.close(1012, 'restarting')
  expect(await closed).toEqual([1012, 'restarting'])
})

// undici's client, which Node 20 has behind a flag: a third implementation, with a mask of its own for each frame.
test("Node's own WebSocket client gets back what it sent to our server", async () => {
  serveEcho()
  const dir = mkdtempSync(join(os.tmpdir(), 'postern-ws-'))
  writeFileSync(join(dir, 'ca.pem'), tls.ca)
  const script = `
    const ws = new WebSocket('wss://127.0.0.1:${port}/v1/tunnel', '${subprotocol}')
    ws.binaryType = 'arraybuffer'
    let got = 0
    ws.onopen = () => ws.send(new Uint8Array(100000).fill(7))
    ws.onerror = () => process.exit(1)
    ws.onmessage = (e) => {
      if (!new Uint8Array(e.data).every((b) => b === 7)) process.exit(2)
      got += e.data.byteLength
      if (got === 100000) ws.close(4000, 'enough')
    }
    ws.onclose = (e) => { console.log(got, e.code, ws.protocol); process.exit(0) }`
  const child = spawn(process.execPath, ['--experimental-websocket', '-e', script], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: join(dir, 'ca.pem'), NODE_NO_WARNINGS: '1' },
  })
  let out = ''
  child.stdout.on('data', (b: Buffer) => (out += b.toString()))
  await once(child, 'close')
  rmSync(dir, { recursive: true })
  expect(out.trim()).toBe(`100000 4000 ${subprotocol}`)
}, 20_000)

describe.skipIf(missing('nginx'))('with nginx between as a load balancer', () => {
  test('both ends get back what they sent', async () => {
    serveEcho()
    const dir = mkdtempSync(join(os.tmpdir(), 'postern-nginx-'))
    writeFileSync(join(dir, 'cert.pem'), tls.options.cert)
    writeFileSync(join(dir, 'key.pem'), tls.options.key)
    // A port that was free a moment ago: nginx cannot be given port 0.
    const probe = createServer(tls.options).listen(0, '127.0.0.1')
    await once(probe, 'listening')
    const front = (probe.address() as AddressInfo).port
    probe.close()
    await once(probe, 'close')
    writeFileSync(
      join(dir, 'nginx.conf'),
      `daemon off; master_process off; pid ${dir}/pid; error_log ${dir}/log;
       events {} http { access_log off; server { listen 127.0.0.1:${front} ssl;
       ssl_certificate ${dir}/cert.pem; ssl_certificate_key ${dir}/key.pem;
       location / { proxy_pass https://127.0.0.1:${port}; proxy_http_version 1.1;
       proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; } } }`,
    )
    const nginx = spawn(peer('nginx'), ['-p', dir, '-c', join(dir, 'nginx.conf')])
    const left = once(nginx, 'exit')
    try {
      const link = await until(() => dialOurs(front))
      await roundTrips(
        (b) => link.sendBinary([b], b.length),
        (fn) => (link.ondata = fn),
      )
    } finally {
      nginx.kill()
      await left
      rmSync(dir, { recursive: true })
    }
  }, 20_000)
})

describe('an upgrade is refused', () => {
  const key = 'dGhlIHNhbXBsZSBub25jZQ=='
  const right = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': key,
    'Sec-WebSocket-Protocol': `other, ${subprotocol}`,
  }
  const ask = async (headers: Record<string, string>, method = 'GET'): Promise<string> => {
    const socket = connectTls({ port, host: '127.0.0.1', ca: tls.ca })
    await once(socket, 'secureConnect')
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`${method} / HTTP/1.1\r\nHost: x\r\n${lines.join('')}\r\n`)
    const [answer] = (await once(socket, 'data')) as [Buffer]
    socket.destroy()
    return answer.toString('latin1')
  }
  test.each<[number, string, Record<string, string>]>([
    [426, 'another version', { 'Sec-WebSocket-Version': '8' }],
    [400, 'a key of 15 bytes', { 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA' }],
    [400, 'another subprotocol', { 'Sec-WebSocket-Protocol': 'mqtt' }],
    [400, 'another upgrade', { Upgrade: 'h2c' }],
    [405, 'another method', {}],
  ])('with %i for %s', async (status, _what, change) => {
    serveEcho()
    const answer = await ask({ ...right, ...change }, status === 405 ? 'POST' : 'GET')
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  })

  test('and the answer to a right one is that of RFC 6455 section 1.3', async () => {
    serveEcho()
    const answer = await ask(right)
    expect(answer).toMatch(/^HTTP\/1\.1 101 /)
    expect(answer).toContain('Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n')
    expect(answer).toContain(`Sec-WebSocket-Protocol: ${subprotocol}\r\n`)
  })

  test.each<[string, string]>([
    ['a wrong Sec-WebSocket-Accept', 'Sec-WebSocket-Accept: AAAA'],
    ['another subprotocol', 'Sec-WebSocket-Protocol: mqtt'],
    ['an extension nobody asked for', 'Sec-WebSocket-Extensions: permessage-deflate'],
  ])('by our client for %s', async (_what, line) => {
    server.on('upgrade', (_request, socket) =>
      socket.end(
        `HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${line}\r\n\r\n`,
      ),
    )
    await expect(dialOurs()).rejects.toThrow(/wrong|another|extension/)
  })
})

async function until<T>(attempt: () => Promise<T>): Promise<T> {
  for (let i = 0; i < 50; i++) {
    try {
      return await attempt()
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  return attempt()
}

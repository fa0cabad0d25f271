// Calls to the control plane over real TLS: errors keep their code, answers are capped, nothing waits for ever.
import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { instant } from '../../../core/clock.ts'
import { caPin } from '../../../core/certs/signer.ts'
import { verifySignedRequest } from '../../../core/certs/signed-request.ts'
import { toPem } from '../../../core/certs/x509-read.ts'
import { apiClient, type ApiClient } from '../../../net/http-client.ts'
import { fetchPinnedCa } from '../../../net/trust.ts'
import { handClock } from '../../support/clock.ts'
import { CLUSTER, failure } from '../../support/pki.ts'
import { serverTls, type ServerTls } from '../../support/tls.ts'
import { cluster, type Cluster } from '../../support/tunnel-server.ts'

let of: Cluster
let tls: ServerTls
let server: Server
let origin: string
let client: ApiClient
let answer: (req: IncomingMessage, res: ServerResponse, body: string) => void
const trust = () => ({ system: false, ca: [tls.ca] })

beforeAll(async () => {
  of = await cluster()
  tls = await serverTls(of.hostCa)
})
beforeEach(async () => {
  server = createServer(tls.options, (req, res) => {
    let body = ''
    req.on('data', (b: Buffer) => (body += b.toString()))
    req.on('end', () => answer(req, res, body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  client = apiClient({ baseUrl: origin, trust: trust() })
})
afterEach(async () => {
  client.close()
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
})

test('JSON goes out and comes back, with status, etag and request id', async () => {
  answer = (req, res, body) => {
    res.setHeader('etag', '"7"').setHeader('x-request-id', 'r1')
    res.end(JSON.stringify({ method: req.method, url: req.url, body: JSON.parse(body) as unknown }))
  }
  expect(await client.send('POST', '/v1/tokens?x=1', { ttl: '30m' })).toEqual({
    status: 200,
    body: { method: 'POST', url: '/v1/tokens?x=1', body: { ttl: '30m' } },
    etag: '"7"',
    requestId: 'r1',
  })
})

test('304 and 204 are answers without a body', async () => {
  answer = (req, res) => res.writeHead(req.headers['if-none-match'] === '"7"' ? 304 : 204).end()
  expect((await client.send('GET', '/v1/policy', undefined, { ifNoneMatch: '"7"' })).status).toBe(
    304,
  )
  expect(await client.request('DELETE', '/v1/tokens/x')).toBeUndefined()
})

test('a problem document becomes the error it was, code and details and all', async () => {
  answer = (_req, res) =>
    res.writeHead(429, { 'retry-after': '7', 'x-request-id': 'r2' }).end(
      JSON.stringify({
        type: 'x',
        code: 'ERR_RATE_LIMITED',
        detail: 'slow \u001b[31mdown',
        issues: [{ path: 'spec.roles.0', message: 'unknown' }],
        future: 'member',
      }),
    )
  const err = await client.request('GET', '/v1/ping').catch((e: unknown) => e)
  expect(err).toMatchObject({
    code: 'ERR_RATE_LIMITED',
    message: 'slow  [31mdown',
    details: { retryAfter: 7, issues: [{ path: 'spec.roles.0', message: 'unknown' }] },
  })
})

test.each([
  ['an unknown code', 400, '{"code":"ERR_OF_NEXT_YEAR","detail":"x"}', 'ERR_INTERNAL'],
  ['no JSON', 500, '<html>', 'ERR_INTERNAL'],
  ['a gateway’s page', 502, '<html>', 'ERR_GATEWAY'],
  ['GHSA-qrwj-vh9x-gw5v (Coder): a redirect, which is never followed', 302, '', undefined],
])('%s', async (_what, status, body, code) => {
  answer = (_req, res) => res.writeHead(status, { location: 'https://example.com/' }).end(body)
  expect((await failure(() => client.request('GET', '/x')))?.code).toBe(code)
})

test('an answer above the cap ends the call', async () => {
  answer = (_req, res) => {
    res.on('error', () => undefined)
    const more = () => {
      while (!res.destroyed && res.write(Buffer.alloc(65_536, 0x20)));
    }
    res.on('drain', more)
    more()
  }
  expect((await failure(() => client.request('GET', '/x')))?.code).toBe('ERR_INPUT_TOO_LARGE')
})

test('a server that never answers is given up by the deadline', async () => {
  const clock = handClock(Date.now())
  const slow = apiClient({ baseUrl: origin, trust: trust(), clock })
  const asked = new Promise<void>((resolve) => (answer = () => resolve()))
  const call = failure(() => slow.request('GET', '/x'))
  await asked
  clock.advance(15_000)
  expect((await call)?.code).toBe('ERR_TIMEOUT')
  slow.close()
})

test('an abort ends the call with its reason', async () => {
  const stop = new AbortController()
  answer = () => stop.abort(new Error('stopped'))
  await expect(client.request('GET', '/x', undefined, { signal: stop.signal })).rejects.toThrow(
    'stopped',
  )
})

test('requests are signed as the identity, over method, path and body', async () => {
  const signed = apiClient({
    baseUrl: origin,
    trust: trust(),
    identity: () => of.agent,
    cluster: CLUSTER,
  })
  answer = (req, res, body) => {
    verifySignedRequest(req.headers.authorization ?? '', {
      method: req.method ?? '',
      origins: [origin],
      pathAndQuery: req.url ?? '',
      body,
      cluster: CLUSTER,
      roots: { host: [of.hostCa.certificate], user: [] },
      now: instant(Date.now()),
    }).then(
      ({ identity }) => res.end(JSON.stringify(identity)),
      (e: unknown) => res.writeHead(500).end(String(e)),
    )
  }
  expect(await signed.request('PUT', '/v1/agents/self?a=b', { x: 1 })).toMatchObject({
    kind: 'agent',
  })
  signed.close()
})

test('a wrong clock is corrected once by the server’s time, and the offset kept', async () => {
  const clock = handClock(Date.now() - 600_000)
  const signed = apiClient({
    baseUrl: origin,
    trust: trust(),
    identity: () => of.agent,
    cluster: CLUSTER,
    clock,
  })
  const times: number[] = []
  answer = (req, res) => {
    const jws = (req.headers.authorization ?? '').split(' ')[1] ?? ''
    const { iat } = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()) as {
      iat: number
    }
    times.push(Math.round((Date.now() - iat * 1000) / 60_000))
    if (times.length === 1)
      res.writeHead(401).end(JSON.stringify({ code: 'ERR_CLOCK', serverTime: Date.now() }))
    else res.end('{}')
  }
  await signed.request('GET', '/v1/policy')
  await signed.request('GET', '/v1/policy')
  expect(times).toEqual([10, 0, 0])
  expect(Math.round(signed.clockOffset / 60_000)).toBe(10)
  signed.close()
})

test('a server that always says ERR_CLOCK is not asked for ever', async () => {
  let calls = 0
  const signed = apiClient({
    baseUrl: origin,
    trust: trust(),
    identity: () => of.agent,
    cluster: CLUSTER,
  })
  answer = (_req, res) => {
    calls++
    res.writeHead(401).end(JSON.stringify({ code: 'ERR_CLOCK', serverTime: Date.now() }))
  }
  expect((await failure(() => signed.request('GET', '/x')))?.code).toBe('ERR_CLOCK')
  expect(calls).toBe(2)
  signed.close()
})

test('a bearer token is sent over TLS only, and never to another origin', async () => {
  answer = (req, res) => res.end(JSON.stringify(req.headers.authorization))
  const bearer = apiClient({ baseUrl: origin, trust: trust(), bearer: 'pst_key' })
  expect(await bearer.request('GET', '/x')).toBe('Bearer pst_key')
  expect((await failure(() => bearer.request('GET', 'https://example.com/x')))?.code).toBe(
    'ERR_USAGE',
  )
  expect((await failure(() => bearer.request('GET', '//example.com/x')))?.code).toBe('ERR_USAGE')
  bearer.close()
  const plain = apiClient({ baseUrl: 'http://example.com', trust: trust(), bearer: 'pst_key' })
  expect((await failure(() => plain.request('GET', '/x')))?.code).toBe('ERR_USAGE')
})

test('wstunnel: a server with an untrusted certificate is not spoken to', async () => {
  answer = (_req, res) => res.end('{}')
  const stranger = apiClient({ baseUrl: origin, trust: { system: true, ca: [] } })
  expect((await failure(() => stranger.request('GET', '/x')))?.code).toBe('ERR_UNREACHABLE')
})

// The first contact of an agent: it knows only the pin.
test('of an unverified CA document only the pinned CA is believed', async () => {
  const [host, user] = [of.hostCa.certificate, of.userCa.certificate]
  let seen: IncomingMessage['headers'] = {}
  answer = (req, res) => {
    seen = req.headers
    const pems = [
      toPem(user.raw),
      toPem(host.raw),
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
    ]
    res.end(JSON.stringify({ host: { x509: pems } }))
  }
  const pins = [`sha256:${'0'.repeat(64)}`, caPin(host.publicKey)]
  expect((await fetchPinnedCa({ url: origin, pins })).ca.map((p) => p.trim())).toEqual([
    toPem(host.raw).trim(),
  ])
  expect(seen.authorization).toBeUndefined()
  expect((await failure(() => fetchPinnedCa({ url: origin, pins: pins.slice(0, 1) })))?.code).toBe(
    'ERR_CA_PIN_MISMATCH',
  )
  // The pin of a leaf, or of nothing, is no CA.
  answer = (_req, res) => res.end(JSON.stringify([toPem(of.agent.certificate.raw)]))
  const leaf = [caPin(of.agent.certificate.publicKey)]
  expect((await failure(() => fetchPinnedCa({ url: origin, pins: leaf })))?.code).toBe(
    'ERR_CA_PIN_MISMATCH',
  )
})

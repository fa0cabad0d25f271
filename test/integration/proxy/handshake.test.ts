// Who may have a tunnel. Each case is a peer that is wrong in one way.
import { connect as tlsConnect, type TLSSocket } from 'node:tls'
import { request } from 'node:https'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { agentUri, proxyUri, userUri } from '../../../core/certs/identity.ts'
import { plus } from '../../../core/clock.ts'
import type { ProxyId } from '../../../core/ids.ts'
import type { TunnelPurpose } from '../../../net/tunnel-client.ts'
import { handClock, type HandClock } from '../../support/clock.ts'
import { CLUSTER, HOUR, failure, makeCa, type Leaf } from '../../support/pki.ts'
import { proxyWorld, type World } from '../../support/proxy-world.ts'

let clock: HandClock
let world: World
beforeEach(async () => {
  clock = handClock()
  world = await proxyWorld({
    clock,
    deps: { limits: { handshakes: 8, handshakesPerSource: 6, tunnels: 10 } },
  })
})
afterEach(() => world.close())

const past = () => plus(clock.now(), -2 * HOUR)
const user = { roles: ['access'] }
const WRONG: [string, TunnelPurpose, string, () => Promise<Leaf>][] = [
  [
    'an agent certificate of another CA',
    'agent',
    'ERR_TUNNEL_HANDSHAKE',
    async () =>
      world.leaf({
        ca: await makeCa('host CA', 'ES256', clock.now()),
        uri: agentUri(CLUSTER, world.agentId(), 'ssh'),
      }),
  ],
  [
    'an agent certificate signed by the user CA',
    'agent',
    'ERR_TUNNEL_HANDSHAKE',
    () => world.leaf({ ca: world.userCa, uri: agentUri(CLUSTER, world.agentId(), 'ssh') }),
  ],
  [
    'a user certificate for an agent tunnel',
    'agent',
    'ERR_TUNNEL_HANDSHAKE',
    () => world.userLeaf(),
  ],
  [
    'an agent certificate for a user tunnel',
    'user',
    'ERR_TUNNEL_HANDSHAKE',
    () => world.agentLeaf(world.agentId()),
  ],
  [
    'a user certificate signed by the host CA',
    'user',
    'ERR_TUNNEL_HANDSHAKE',
    () => world.leaf({ ca: world.hostCa, uri: userUri(CLUSTER, 'alice'), user }),
  ],
  [
    'an expired certificate',
    'agent',
    'ERR_TUNNEL_HANDSHAKE',
    () =>
      world.leaf({
        uri: agentUri(CLUSTER, world.agentId(), 'ssh'),
        notBefore: plus(past(), -HOUR),
        notAfter: past(),
      }),
  ],
  [
    'a certificate of another cluster under the same CA',
    'agent',
    'ERR_TUNNEL_HANDSHAKE',
    () => world.leaf({ uri: agentUri('other.cluster', world.agentId(), 'ssh') }),
  ],
  [
    'a proxy that comes as an agent',
    'agent',
    'ERR_TUNNEL_HANDSHAKE',
    () => world.leaf({ uri: proxyUri(CLUSTER, 'px_01jd00000000000000000000zz' as ProxyId) }),
  ],
  [
    'a key that is not the certificate’s',
    'agent',
    'ERR_TUNNEL_HANDSHAKE',
    async () => {
      const [mine, stolen] = [
        await world.agentLeaf(world.agentId()),
        await world.agentLeaf(world.agentId()),
      ]
      return { signer: mine.signer, certificate: stolen.certificate }
    },
  ],
]

test.each(WRONG)('%s gets no tunnel', async (_, purpose, code, make) => {
  const refused = await failure(async () => world.dial({ leaf: await make(), purpose }))
  expect(refused?.code).toBe(code)
  expect(world.proxy.stats()).toMatchObject({ agentTunnels: 0, userTunnels: 0 })
  expect(world.proxy.stats().handshakesRefused).toBe(1)
})

test('a locked user and a locked agent get no tunnel', async () => {
  const id = world.agentId()
  world.lock({ kind: 'user', user: 'alice' })
  world.lock({ kind: 'agent', agent: id })
  clock.advance(1000)
  await world.log.seen('proxy.policy', ({ fields }) => fields['version'] === 3)
  const agent = await failure(async () => world.dial({ leaf: await world.agentLeaf(id) }))
  expect(agent?.code).toBe('ERR_LOCKED')
  const leaf = await world.userLeaf()
  expect((await failure(() => world.dial({ leaf, purpose: 'user' })))?.code).toBe('ERR_LOCKED')
  await world.dial({ leaf: await world.userLeaf('bob'), purpose: 'user' })
})

test('many tunnels of one agent service end in ERR_TUNNEL_ALREADY_HERE, and none is thrown out', async () => {
  const leaf = await world.agentLeaf(world.agentId())
  const tunnels = [1, 2, 3, 4].map(() => world.dial({ leaf }))
  const open = await Promise.all(tunnels)
  expect((await failure(() => world.dial({ leaf })))?.code).toBe('ERR_TUNNEL_ALREADY_HERE')
  expect(open.map((t) => t.session.closed)).toEqual([false, false, false, false])
})

/** The bytes of an upgrade, over raw TLS: nothing after them unless a test sends more. */
function upgrade(path = '/v1/tunnel', protocol = 'postern-tunnel.v1'): Promise<TLSSocket> {
  const [host = '', port = ''] = world.address.split(':')
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ host, port: Number(port), ca: world.tlsCa }, () => {
      socket.write(
        `GET ${path} HTTP/1.1\r\nhost: ${world.address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n` +
          `sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n` +
          `sec-websocket-protocol: ${protocol}\r\n\r\n`,
      )
      resolve(socket)
    })
    socket.once('error', reject)
  })
}
const head = (socket: TLSSocket): Promise<string> =>
  new Promise((resolve, reject) => {
    socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1')))
    socket.once('error', reject)
  })

test('a peer that says nothing after the upgrade is cut at the deadline and holds up nobody', async () => {
  const silent = await Promise.all([1, 2, 3].map(() => upgrade()))
  await Promise.all(silent.map((s) => head(s).then((text) => expect(text).toContain(' 101 '))))
  expect(world.proxy.stats().handshakesPending).toBe(3)
  await world.dial({ leaf: await world.agentLeaf(world.agentId()) })
  const over = silent.map((s) => new Promise((resolve) => s.once('close', resolve)))
  clock.advance(10_000)
  // The closing handshake has a deadline of its own.
  await world.log.seen('proxy.handshake_refused')
  clock.advance(2_000)
  await Promise.all(over)
  expect(world.proxy.stats()).toMatchObject({ handshakesPending: 0, handshakesRefused: 3 })
  expect(world.proxy.stats().agentTunnels).toBe(1)
})

test('a flood of handshakes from one address gets 503 and retry-after, and leaves room for others', async () => {
  const held = await Promise.all([1, 2, 3, 4, 5, 6].map(() => upgrade()))
  await Promise.all(held.map(head))
  const refused = await upgrade()
  const text = await head(refused)
  expect(text).toMatch(/^HTTP\/1\.1 503 /)
  expect(text).toMatch(/\r\nretry-after: \d+\r\n/)
  expect(text).toContain('"code":"ERR_PROXY_BUSY"')
  for (const socket of held) socket.destroy()
  await Promise.all(held.map((s) => new Promise((resolve) => s.once('close', resolve))))
  await Promise.all(
    held.map((_, i) =>
      world.log.seen(
        'proxy.handshake_refused',
        () => world.log.entries.filter((e) => e.event === 'proxy.handshake_refused').length > i,
      ),
    ),
  )
  await world.dial({ leaf: await world.agentLeaf(world.agentId()) })
})

test('tunnels above the limit of the process are refused with HTTP before any handshake', async () => {
  for (let i = 0; i < 10; i++) await world.dial({ leaf: await world.agentLeaf(world.agentId()) })
  const leaf = await world.agentLeaf(world.agentId())
  expect((await failure(() => world.dial({ leaf })))?.code).toBe('ERR_PROXY_BUSY')
  expect(world.proxy.stats()).toMatchObject({ agentTunnels: 10, upgradesRefused: 1 })
})

test.each([
  ['another path', '/v1/other', 'postern-tunnel.v1', ' 404 '],
  ['another subprotocol', '/v1/tunnel', 'chat', ' 400 '],
])('an upgrade with %s is answered with HTTP', async (_, path, protocol, status) => {
  const socket = await upgrade(path, protocol)
  expect(await head(socket)).toContain(status)
  await new Promise((resolve) => socket.once('close', resolve))
})

function get(path: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const asked = request(`https://${world.address}${path}`, { ca: world.tlsCa }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => (text += part))
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          body: text === '' ? undefined : (JSON.parse(text) as unknown),
        }),
      )
    })
    asked.on('error', reject)
    asked.end()
  })
}

test('CVE-2024-12289 (Boundary): who comes while a proxy starts is turned away; without a policy it is not ready', async () => {
  const refuses = {
    policy: () => Promise.reject(new Error('away')),
    freshness: () => Promise.reject(new Error('away')),
  }
  const blind = await proxyWorld({ clock: handClock(), start: false, deps: { policy: refuses } })
  const early = blind.dial({ leaf: await blind.agentLeaf(blind.agentId()) })
  await expect(early).rejects.toMatchObject({ code: 'ERR_PROXY_BUSY' })
  expect(blind.proxy.ready()).toMatchObject({ ok: false, facts: { state: 'starting' } })
  await blind.proxy.start()
  expect(blind.proxy.stats().state).toBe('serving')
  expect(blind.proxy.ready()).toEqual({ ok: false, facts: { state: 'serving', policy: 0 } })
  await blind.close()
})

test('health and readiness tell a proxy that serves from one that drains', async () => {
  expect(await get('/healthz')).toEqual({ status: 200, body: { state: 'serving' } })
  expect(await get('/readyz')).toEqual({ status: 200, body: { state: 'serving' } })
  expect((await get('/anything')).status).toBe(404)
  const drained = world.proxy.drain(1000)
  await world.log.seen('proxy.closed')
  await drained
  expect((await get('/readyz')).status).toBe(503)
})

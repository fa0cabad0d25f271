/** An app behind the gate, from a local listener of the user to the target of the agent. Nothing in between is a fake. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAgentConfig } from '../../../agent/config.ts'
import type { ProxySession } from '../../../cli/connect/session.ts'
import { missing, peer } from '../../support/peers.ts'
import { openGate, type Gate, type GateAgent } from './gate.ts'

interface Target {
  readonly server: Server
  readonly port: number
}

function listenTcp(onSocket: (socket: Socket) => void): Promise<Target> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    onSocket(socket)
  })
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () =>
      resolve({ server, port: (server.address() as AddressInfo).port }),
    ),
  )
}

const dial = (port: number): Socket => connect({ port, host: '127.0.0.1', allowHalfOpen: true })

function roundTrip(port: number, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = dial(port)
    const parts: Buffer[] = []
    socket.on('data', (part: Buffer) => parts.push(part))
    socket.on('error', reject)
    socket.on('end', () => resolve(Buffer.concat(parts)))
    socket.end(bytes)
  })
}

/** A connection on which one message has made the round trip. */
async function liveSocket(port: number): Promise<Socket> {
  const socket = dial(port)
  socket.on('error', () => undefined)
  socket.write('hello')
  await once(socket, 'data')
  return socket
}

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    // A cut may arrive as a reset: 'close' follows either way.
    socket.on('error', () => undefined)
    socket.on('close', () => resolve())
    socket.on('end', () => socket.destroy())
    socket.resume()
  })

describe('an app through the gate', () => {
  let gate: Gate
  let echo: Target
  let upper: Target
  let running: GateAgent
  let ann: ProxySession
  const services = (extra = ''): string =>
    `app_service: { enabled: true, apps: [{ name: echo, uri: 'tcp://127.0.0.1:${echo.port}', labels: { team: sre } }, { name: nobody, uri: 'tcp://127.0.0.1:1' }${extra}] }`

  beforeAll(async () => {
    gate = await openGate()
    echo = await listenTcp((socket) => socket.pipe(socket))
    upper = await listenTcp((socket) => socket.end('before the end of the question'))
    running = await gate.start({ token: await gate.mint(), services: services() })
    await running.agent.settled()
    await running.log.seen('announce.done')
    ann = await gate.user('ann', ['access'])
  })
  afterAll(async () => {
    await gate.close()
    echo.server.close()
    upper.server.close()
  })

  test('the agent joins, comes online and announces what it serves', async () => {
    expect(running.agent.services.get('app')?.state).toBe('online')
    const apps = (await gate.operator.request('GET', '/v1/apps')) as {
      items: { metadata: { name: string; labels: object }; status: { online: boolean } }[]
    }
    expect(apps.items).toMatchObject([
      { metadata: { name: 'echo', labels: { team: 'sre' } }, status: { online: true } },
      { metadata: { name: 'nobody' } },
    ])
  })

  test('bytes and the end of each side pass both ways, and the audit log has the count', async () => {
    const { port } = await gate.listen(ann, 'echo')
    const bytes = Buffer.alloc(3_000_000, 'postern ')
    expect((await roundTrip(port, bytes)).equals(bytes)).toBe(true)
    const end = await gate.event((e) => e.type === 'app.end' && e.actor === 'ann')
    expect(end).toMatchObject({
      outcome: 'ok',
      resource: 'app/echo',
      fields: { bytes_in: bytes.length, bytes_out: bytes.length },
    })
    expect(await gate.event((e) => e.type === 'app.start')).toMatchObject({ outcome: 'ok' })
  })

  test('many connections at once do not mix their bytes', async () => {
    const { port } = await gate.listen(ann, 'echo')
    const sent = Array.from({ length: 30 }, (_, i) => Buffer.alloc(20_000, `stream ${i} `))
    const got = await Promise.all(sent.map((bytes) => roundTrip(port, bytes)))
    expect(got.every((bytes, i) => bytes.equals(sent[i] ?? Buffer.alloc(0)))).toBe(true)
  })

  test('a target that is down is told as such', async () => {
    const { port } = await gate.listen(ann, 'nobody')
    await closed(dial(port))
    await gate.log.seen('test.app_failed', (e) => e.fields['code'] === 'ERR_UPSTREAM_UNREACHABLE')
    const event = await gate.event((e) => e.type === 'session.refused')
    expect(event).toMatchObject({ actor: 'ann', resource: 'app/nobody' })
    expect(event.reason).toContain('ECONNREFUSED')
  })

  // A stolen laptop: the lock must end what is open, not only what comes next.
  test('a lock on the user cuts the live session within two seconds', async () => {
    const eve = await gate.user('eve', ['access'])
    const { port } = await gate.listen(eve, 'echo')
    const socket = await liveSocket(port)
    const end = closed(socket)
    const started = performance.now()
    await gate.operator.request('POST', '/v1/locks', { target: { user: 'eve' } })
    await end
    expect(performance.now() - started).toBeLessThan(2000)
    const event = await gate.event((e) => e.type === 'app.end' && e.actor === 'eve')
    expect(event).toMatchObject({ outcome: 'failed' })
    expect(event.reason).toMatch(/lock|tunnel|reset|broke off/i)
  })

  test('a role taken away cuts the live session, and the agent says no by itself', async () => {
    const bob = await gate.user('bob', ['access'])
    const { port } = await gate.listen(bob, 'echo')
    const end = closed(await liveSocket(port))
    await gate.setRoles('bob', ['auditor'])
    await end
    const event = await gate.event((e) => e.type === 'app.end' && e.actor === 'bob')
    expect(event.reason).toContain('no role in force')
    // The route of the first connection is still good and still cached: only the agent is left to refuse.
    await closed(dial(port))
    const refused = await gate.event((e) => e.type === 'session.refused' && e.actor === 'bob')
    expect(refused.reason).toContain('no role in force')
    await gate.log.seen('test.app_failed', (e) => e.fields['code'] === 'ERR_ACCESS_DENIED')
  })

  test('a reload serves a new app at once, and cuts what is not served any more', async () => {
    const withNew = gate.yaml({
      services: services(`, { name: upper, uri: 'tcp://127.0.0.1:${upper.port}' }`),
    })
    await running.agent.reload(parseAgentConfig(withNew, { hostname: 'test-host' }))
    await gate.event((e) => e.type === 'agent.resources' && e.fields['count'] === 3)
    const { port } = await gate.listen(ann, 'upper')
    const answer = await roundTrip(port, Buffer.from('question'))
    expect(answer.toString()).toBe('before the end of the question')

    const live = await liveSocket((await gate.listen(ann, 'echo')).port)
    const end = closed(live)
    const without = gate.yaml({
      services: `app_service: { enabled: true, apps: [{ name: upper, uri: 'tcp://127.0.0.1:${upper.port}' }] }`,
    })
    await running.agent.reload(parseAgentConfig(without, { hostname: 'test-host' }))
    await end
    await running.agent.reload(parseAgentConfig(withNew, { hostname: 'test-host' }))
    expect(running.agent.services.get('app')?.state).toBe('online')
  })

  test('a reload with a key that cannot change live changes nothing', async () => {
    const other = gate.yaml({ nodename: 'web-2', services: services() })
    const before = running.agent.config
    await expect(
      running.agent.reload(parseAgentConfig(other, { hostname: 'test-host' })),
    ).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID', message: /postern\.nodename.*restart/ })
    expect(running.agent.config).toBe(before)
  })

  test.skipIf(missing('nginx', 'curl'))('nginx answers curl through the gate', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'postern-nginx-'))
    // A free port of this moment: nginx cannot be given port 0.
    const probe = await listenTcp(() => undefined)
    await new Promise((resolve) => probe.server.close(resolve))
    mkdirSync(join(dir, 'www'))
    const body = 'x'.repeat(500_000)
    writeFileSync(join(dir, 'www', 'big.txt'), body)
    writeFileSync(
      join(dir, 'nginx.conf'),
      [
        'daemon off; master_process off; error_log stderr; pid nginx.pid;',
        'events {}',
        `http { access_log off; client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p;`,
        `fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;`,
        `server { listen 127.0.0.1:${probe.port}; root ${dir}/www; } }`,
      ].join('\n'),
    )
    const nginx = spawn(peer('nginx'), ['-p', dir, '-c', join(dir, 'nginx.conf')], {
      stdio: 'ignore',
    })
    try {
      const withNginx = gate.yaml({
        services: services(`, { name: web, uri: 'http://127.0.0.1:${probe.port}' }`),
      })
      await running.agent.reload(parseAgentConfig(withNginx, { hostname: 'test-host' }))
      await gate.event(
        (e) => e.type === 'agent.resources' && String(e.fields['names']).includes('web'),
      )
      const { port } = await gate.listen(ann, 'web')
      const { stdout } = await promisify(execFile)(
        peer('curl'),
        [
          '-sS',
          '--retry',
          '20',
          '--retry-delay',
          '0',
          '--retry-all-errors',
          '--fail',
          `http://127.0.0.1:${port}/big.txt`,
        ],
        { maxBuffer: 2_000_000 },
      )
      expect(stdout).toBe(body)
    } finally {
      nginx.kill()
      await once(nginx, 'exit')
      rmSync(dir, { recursive: true, force: true })
    }
  })
})

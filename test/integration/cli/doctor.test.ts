// Each hop is broken once, and doctor must name that hop, leave the ones behind it alone, and say what to do.
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { createServer as createHttps, type Server as HttpsServer } from 'node:https'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { doctor } from '../../../cli/commands/doctor.ts'
import type { Finding } from '../../../cli/doctor/examination.ts'
import { sshConfigFile } from '../../../cli/ssh-config.ts'
import { plus, systemClock, type Clock } from '../../../core/clock.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { proxyUri } from '../../../core/certs/identity.ts'
import { issueCertificate } from '../../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../../core/certs/x509-read.ts'
import type { ProxyId } from '../../../core/ids.ts'
import { systemRandom } from '../../../core/random.ts'
import { createWindowBudget } from '../../../core/tunnel/window-budget.ts'
import { acceptTunnel, tunnelUpgrade } from '../../../net/tunnel-server.ts'
import { missing } from '../../support/peers.ts'
import { stubCli } from '../../support/cli.ts'
import { makeCa } from '../../support/pki.ts'
import { openGate, type Gate } from '../agent/gate.ts'

interface Seen {
  readonly code: number
  readonly checks: readonly Finding[]
  of(check: string, target?: string): Finding
}

const off = (ms: number): Clock => ({ ...systemClock, now: () => plus(systemClock.now(), ms) })
const listen = (server: Server | HttpsServer): Promise<number> =>
  new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  )
/** A port that nobody listens on. */
async function closedPort(): Promise<number> {
  const server = createServer()
  const port = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

describe.skipIf(missing('ssh'))('postern doctor', () => {
  let gate: Gate
  let yaml: string
  const servers: (Server | HttpsServer)[] = []

  async function run(
    resource: string | undefined,
    options: Parameters<typeof doctor>[2],
    surroundings: { readonly clock?: Clock; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<Seen> {
    const cli = stubCli({ home: gate.dir, ...surroundings })
    const code = await doctor(cli, resource, { ...options, json: true })
    const { ok, checks } = JSON.parse(cli.lines.join('\n')) as { ok: boolean; checks: Finding[] }
    expect(ok).toBe(code === 0)
    for (const c of checks)
      if (c.status === 'warn' || c.status === 'fail') expect(c.fix).toBeTruthy()
    return {
      code,
      checks,
      of(check, target) {
        const found = checks.find((c) => c.check === check && (!target || c.target === target))
        if (!found) throw new Error(`no check ${check} in ${JSON.stringify(checks, null, 1)}`)
        return found
      },
    }
  }

  /** A profile of its own, as login writes it. */
  async function profile(user = 'ann'): Promise<string> {
    const { dir, cluster } = (await gate.user(user, ['access'])).profile
    const self = { node: process.execPath, script: '/usr/local/lib/postern/bin/postern.mjs' }
    await writeFile(join(dir, 'ssh_config'), sshConfigFile({ cluster, profileDir: dir, self }))
    return dir
  }
  async function change(dir: string, fields: Readonly<Record<string, unknown>>): Promise<string> {
    const file = join(dir, 'profile.json')
    const manifest = JSON.parse(await readFile(file, 'utf8')) as object
    await writeFile(file, JSON.stringify({ ...manifest, ...fields }))
    return dir
  }
  /** Something else behind the certificate of the cluster. */
  async function front(setUp: (server: HttpsServer) => void): Promise<string> {
    const key = generateKey()
    const { pem, caPem } = await gate.cluster.plane.issueServerCertificate({
      key: key.publicKey,
      dns: ['localhost'],
      ips: ['127.0.0.1'],
    })
    const server = createHttps({
      key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      cert: `${pem}${caPem}`,
    })
    setUp(server)
    servers.push(server)
    return `127.0.0.1:${await listen(server)}`
  }
  const config = async (change: (text: string) => string): Promise<string> => {
    const file = join(gate.dir, `agent-${systemRandom.bytes(4).toString('hex')}.yaml`)
    await writeFile(file, change(yaml))
    return file
  }

  beforeAll(async () => {
    gate = await openGate()
    const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
    servers.push(echo)
    const token = await gate.mint({ roles: ['Node', 'App'] })
    const started = await gate.start({
      token,
      services: `ssh_service: { enabled: true }\napp_service: { enabled: true, apps: [{ name: echo, uri: tcp://127.0.0.1:${await listen(echo)} }] }`,
    })
    yaml = started.yaml
    await started.agent.settled()
  })
  afterAll(async () => {
    for (const server of servers) server.close()
    await gate.close()
  })

  describe('on a user’s machine', () => {
    test.each(['web-1', 'app/echo'])('all is well up to the agent behind %s', async (resource) => {
      const seen = await run(resource, { profile: await profile() })
      expect(seen.checks.filter((c) => c.status !== 'ok')).toEqual([])
      expect(seen.code).toBe(0)
      expect(seen.checks.map((c) => c.check)).toEqual(
        // prettier-ignore
        ['profile', 'certificate', 'ca', 'ssh_config', 'ssh-agent', 'dns', 'tcp', 'tls', 'pin', 'discovery', 'clock',
          'request', 'websocket', 'proxy', 'tunnel', 'route', 'end to end'],
      )
      expect(seen.of('end to end').detail).toMatch(/^SSH-2\.0-|reached the app/)
    })

    test('people read lines, with the fix below what failed', async () => {
      const cli = stubCli({ home: gate.dir })
      const code = await doctor(cli, undefined, { profile: join(gate.dir, 'nobody') })
      expect(code).toBe(3)
      expect(cli.lines.join('\n')).toMatch(/^fail {2}profile .*\n +fix: run postern login/)
    })

    test('a profile that others can read', async () => {
      const dir = await profile()
      await chmod(dir, 0o755)
      expect((await run(undefined, { profile: dir })).of('profile')).toMatchObject({
        status: 'fail',
        fix: `chmod 700 ${dir}`,
      })
    })

    test('certificates that have expired: the way is still looked at, without them', async () => {
      const seen = await run(undefined, { profile: await change(await profile(), { expires: 1 }) })
      expect(seen.of('certificate')).toMatchObject({ status: 'fail', fix: 'run postern login' })
      expect(seen.of('proxy').status).toBe('ok')
      expect(seen.of('tunnel').status).toBe('skip')
      expect(seen.code).toBe(3)
    })

    test('a name that does not resolve', async () => {
      const api = 'https://access.invalid:443'
      const seen = await run('web-1', { profile: await change(await profile(), { api }) })
      expect(seen.of('dns', 'access.invalid')).toMatchObject({ status: 'fail' })
      expect(seen.of('dns', 'access.invalid').fix).toContain('resolv.conf')
      expect(seen.of('tcp', 'access.invalid:443').status).toBe('skip')
      expect(seen.of('route').status).toBe('skip')
      expect(seen.code).toBe(5)
    })

    test('a port that nobody listens on', async () => {
      const at = `127.0.0.1:${await closedPort()}`
      const seen = await run(undefined, {
        profile: await change(await profile(), { proxies: [at] }),
      })
      expect(seen.of('tcp', at)).toMatchObject({ status: 'fail', detail: 'connection refused' })
      expect(seen.of('tcp', at).fix).toContain(`nothing listens on ${at}`)
      expect(seen.code).toBe(5)
    })

    test('an HTTPS_PROXY that is not there', async () => {
      const HTTPS_PROXY = `http://127.0.0.1:${await closedPort()}`
      const seen = await run(undefined, { profile: await profile() }, { env: { HTTPS_PROXY } })
      expect(seen.of('tcp').fix).toContain(`check HTTPS_PROXY=${HTTPS_PROXY}`)
    })

    test('a port that does not speak TLS', async () => {
      const plain = createServer((socket) => socket.on('error', () => undefined).end('hello\r\n'))
      servers.push(plain)
      const at = `127.0.0.1:${await listen(plain)}`
      const seen = await run(undefined, {
        profile: await change(await profile(), { proxies: [at] }),
      })
      expect(seen.of('tls', at).fix).toContain('does not speak TLS')
    })

    test('a CA that is not the pinned one', async () => {
      const dir = await profile()
      const other = await makeCa('other CA', 'ES256', systemClock.now())
      await writeFile(join(dir, 'ca.pem'), toPem(other.certificate.raw))
      const seen = await run(undefined, { profile: dir })
      expect(seen.of('ca')).toMatchObject({ status: 'fail' })
      expect(seen.of('tls')).toMatchObject({
        status: 'fail',
        detail: 'its certificate is not of the pinned CA',
      })
    })

    test('a clock that is ten minutes off, or a few seconds', async () => {
      const seen = await run(undefined, { profile: await profile() }, { clock: off(600_000) })
      expect(seen.of('clock')).toMatchObject({ status: 'fail' })
      expect(seen.of('clock').detail).toMatch(/ahead/)
      expect(seen.of('clock').fix).toContain('timedatectl set-ntp true')
      const little = await run(undefined, { profile: await profile() }, { clock: off(-20_000) })
      expect(little.of('clock')).toMatchObject({ status: 'warn' })
      expect(little.code).toBe(0)
    })

    test('something else behind the address: no discovery document, no WebSocket', async () => {
      const at = await front((server) =>
        server.on('request', (_q, s) => s.writeHead(404).end('no')),
      )
      const dir = await change(await profile(), { api: `https://${at}`, proxies: [at] })
      const seen = await run(undefined, { profile: dir })
      expect(seen.of('discovery').detail).toContain('HTTP 404')
      expect(seen.of('websocket').fix).toContain('load balancer in front must pass WebSocket')
      expect(seen.of('proxy').status).toBe('skip')
    })

    test('another cluster behind the address', async () => {
      const seen = await run(undefined, {
        profile: await change(await profile(), { cluster: 'x.y' }),
      })
      expect(seen.of('discovery')).toMatchObject({ status: 'fail' })
      expect(seen.of('discovery').fix).toContain('postern login --proxy')
    })

    test('a proxy that cannot prove itself', async () => {
      const forger = await makeCa('forger', 'ES256', systemClock.now())
      const signer = keySigner(generateKey().privateKey)
      const der = await issueCertificate({
        subject: 'proxy',
        publicKey: signer.publicKey,
        issuer: forger,
        notBefore: plus(systemClock.now(), -60_000),
        notAfter: plus(systemClock.now(), 3_600_000),
        uris: [proxyUri(gate.cluster.plane.cluster, 'px_01jd00000000000000000000pp' as ProxyId)],
        usage: ['client', 'server'],
      })
      const at = await front((server) =>
        server.on('upgrade', (request, socket, head) =>
          tunnelUpgrade(request, socket, head, systemClock, (link) => {
            void acceptTunnel(link, {
              cluster: gate.cluster.plane.cluster,
              identity: { certificate: readCertificate(der), signer },
              hostCas: () => [],
              userCas: () => [],
              isOwnAddress: () => true,
              liveProxies: () => 1,
              clock: systemClock,
              random: systemRandom,
              budget: createWindowBudget(),
              authorise: () => undefined,
              onOpen: (stream) => stream.refuse('ERR_FORBIDDEN'),
            }).catch(() => undefined)
          }),
        ),
      )
      const seen = await run(undefined, {
        profile: await change(await profile(), { proxies: [at] }),
      })
      expect(seen.of('websocket', at).status).toBe('ok')
      expect(seen.of('proxy', at)).toMatchObject({ status: 'fail' })
      expect(seen.of('proxy', at).fix).toContain('somebody else answers there')
      expect(seen.of('tunnel', at).status).toBe('skip')
    })

    test('a user who is locked', async () => {
      const dir = await profile('mallory')
      await gate.operator.request('POST', '/v1/locks', { target: { user: 'mallory' }, ttl: '5m' })
      const seen = await run(undefined, { profile: dir })
      expect(seen.of('request')).toMatchObject({ status: 'fail' })
      expect(seen.of('request').fix).toContain('a lock is in force')
      expect(seen.code).toBe(3)
    })

    test('an ssh-agent that is gone, an ssh_config of another installation: warnings', async () => {
      const dir = await profile()
      const file = join(dir, 'ssh_config')
      await writeFile(file, (await readFile(file, 'utf8')).replace('postern.mjs', 'elsewhere.mjs'))
      const seen = await run(
        undefined,
        { profile: dir },
        { env: { SSH_AUTH_SOCK: join(dir, 'gone') } },
      )
      expect(seen.of('ssh-agent')).toMatchObject({ status: 'warn' })
      expect(seen.of('ssh-agent').fix).toContain('unset SSH_AUTH_SOCK')
      expect(seen.of('ssh_config')).toMatchObject({ status: 'warn', fix: 'run postern login' })
      expect(seen.code).toBe(0)
    })

    test('an ssh_config that ssh itself refuses', async () => {
      const dir = await profile()
      await writeFile(join(dir, 'ssh_config'), 'Nonsense yes\n')
      expect((await run(undefined, { profile: dir })).of('ssh_config')).toMatchObject({
        status: 'fail',
      })
    })

    test('a resource that is not there, and the exit code of that', async () => {
      const seen = await run('web-9', { profile: await profile() })
      expect(seen.of('route')).toMatchObject({ status: 'fail' })
      expect(seen.of('route').fix).toContain('postern ls')
      expect(seen.of('end to end').status).toBe('skip')
      expect(seen.code).toBe(4)
    })

    test('an app whose target is down: all the way is good but the last step', async () => {
      const token = await gate.mint()
      const down = await closedPort()
      const { agent } = await gate.start({
        token,
        nodename: 'apps-2',
        dataDir: join(gate.dir, 'apps-2'),
        services: `app_service: { enabled: true, apps: [{ name: down, uri: tcp://127.0.0.1:${down} }] }`,
      })
      await agent.settled()
      const seen = await run('app/down', { profile: await profile() })
      expect(seen.of('route').status).toBe('ok')
      expect(seen.of('end to end')).toMatchObject({ status: 'fail' })
      expect(seen.of('end to end').fix).toContain('look at the app')
      await agent.stop()
    })

    test('an agent that is offline', async () => {
      const token = await gate.mint()
      const { agent } = await gate.start({
        token,
        nodename: 'apps-3',
        dataDir: join(gate.dir, 'apps-3'),
        services: 'app_service: { enabled: true, apps: [{ name: away, uri: tcp://127.0.0.1:9 }] }',
      })
      await agent.settled()
      await agent.stop()
      const seen = await run('app/away', { profile: await profile() })
      expect(seen.of('route')).toMatchObject({ status: 'fail' })
      expect(seen.of('route').fix).toContain('postern doctor -c /etc/postern.yaml on that machine')
    })
  })

  describe('on an agent’s machine', () => {
    test('all is well', async () => {
      const seen = await run(undefined, { config: await config((text) => text) })
      expect(seen.checks.filter((c) => c.status === 'fail' || c.status === 'skip')).toEqual([])
      expect(seen.code).toBe(0)
      expect(seen.checks.filter((c) => c.check === 'request')).toHaveLength(2)
      expect(seen.of('proxy').detail).toMatch(/^px_/)
      expect(seen.of('proof').detail).toContain('proves the pinned CA')
    })

    test('a configuration with a wrong key', async () => {
      const file = await config((text) => text.replace('nodename', 'node_name'))
      const seen = await run(undefined, { config: file })
      expect(seen.of('config')).toMatchObject({ status: 'fail' })
      expect(seen.of('config').detail).toContain('use nodename')
      expect(seen.code).toBe(2)
    })

    test('no file at all', async () => {
      const seen = await run(undefined, { config: join(gate.dir, 'none.yaml') })
      expect(seen.of('config').fix).toContain('postern agent configure')
    })

    test('a data directory and an identity that others can read', async () => {
      const dir = join(gate.dir, 'agent')
      await chmod(dir, 0o755)
      const open = await run(undefined, { config: await config((text) => text) })
      await chmod(dir, 0o700)
      expect(open.of('data_dir')).toMatchObject({ status: 'fail', fix: `chmod 700 ${dir}` })
      expect(open.of('identity').status).toBe('skip')
      const file = join(dir, 'ssh', 'identity.json')
      await chmod(file, 0o644)
      const readable = await run(undefined, { config: await config((text) => text) })
      await chmod(file, 0o600)
      expect(readable.of('identity', 'ssh')).toMatchObject({
        status: 'fail',
        fix: `chmod 600 ${file}`,
      })
    })

    test('identities that were not renewed, and that have expired', async () => {
      const file = await config((text) => text)
      const old = await run(undefined, { config: file }, { clock: off(19 * 3_600_000) })
      expect(old.of('identity', 'ssh')).toMatchObject({ status: 'warn' })
      expect(old.of('identity', 'ssh').fix).toContain('why renewals fail')
      const expired = await run(undefined, { config: file }, { clock: off(25 * 3_600_000) })
      expect(expired.of('identity', 'ssh')).toMatchObject({ status: 'fail' })
      expect(expired.of('identity', 'ssh').fix).toContain('joins again')
    })

    const fresh = (token: string) => (text: string) =>
      text
        .replace(/data_dir: .*/, `data_dir: ${join(gate.dir, 'fresh')}`)
        .replace(/auth_token: .*/, `auth_token: ${token}`)

    test('a token file that is missing, or open to everybody', async () => {
      const token = join(gate.dir, 'token')
      const file = await config(fresh(token))
      const none = await run(undefined, { config: file })
      expect(none.of('token')).toMatchObject({ status: 'fail' })
      expect(none.of('token').fix).toContain('postern tokens add')
      await writeFile(token, await gate.mint(), { mode: 0o644 })
      const open = await run(undefined, { config: file })
      expect(open.of('token')).toMatchObject({ status: 'fail', fix: `chmod 600 ${token}` })
      await chmod(token, 0o600)
      const seen = await run(undefined, { config: file })
      expect(seen.of('token').status).toBe('ok')
      expect(seen.of('process')).toMatchObject({ status: 'warn', detail: 'no agent runs here' })
      expect(JSON.stringify(seen.checks)).not.toContain('pst_join_')
    })

    test('a pin that is not the cluster’s', async () => {
      const file = await config((text) =>
        text.replace(/sha256:[0-9a-f]{64}/, `sha256:${'0'.repeat(64)}`),
      )
      const seen = await run(undefined, { config: file })
      expect(seen.of('ca_pin')).toMatchObject({ status: 'fail' })
      expect(seen.of('ca_pin').fix).toContain('postern tokens add')
    })

    test('a port for metrics that another program has', async () => {
      const other = createServer((socket) => socket.on('error', () => undefined).end('no\r\n'))
      servers.push(other)
      const port = await listen(other)
      const file = await config((text) =>
        text.replace('postern:\n', `postern:\n  diag_addr: ${port}\n`),
      )
      const seen = await run(undefined, { config: file })
      expect(seen.of('diag_addr')).toMatchObject({
        status: 'fail',
        fix: 'set diag_addr to a free port',
      })
    })

    test('a cluster that is not reached, directly and through HTTPS_PROXY', async () => {
      const at = `127.0.0.1:${await closedPort()}`
      const file = await config((text) => text.replace(/proxy_server: .*/, `proxy_server: ${at}`))
      const seen = await run(undefined, { config: file })
      expect(seen.of('tcp', at)).toMatchObject({ status: 'fail' })
      expect(seen.code).toBe(5)
      const HTTPS_PROXY = `http://user:secret@127.0.0.1:${await closedPort()}`
      const proxied = await run(
        undefined,
        { config: await config((t) => t) },
        { env: { HTTPS_PROXY } },
      )
      expect(proxied.of('HTTPS_PROXY').detail).toContain('used: http://…@127.0.0.1')
      expect(proxied.of('tcp')).toMatchObject({ status: 'fail' })
      expect(JSON.stringify(proxied.checks)).not.toContain('secret')
    })

    test('an agent that is locked', async () => {
      const token = await gate.mint()
      const { agent, yaml: text } = await gate.start({
        token,
        nodename: 'locked-1',
        dataDir: join(gate.dir, 'locked-1'),
      })
      await agent.settled()
      await gate.operator.request('POST', '/v1/locks', {
        target: { agent: agent.agentId },
        ttl: '5m',
      })
      const seen = await run(undefined, { config: await config(() => text) })
      expect(seen.of('request')).toMatchObject({ status: 'fail' })
      expect(seen.of('request').fix).toContain(`agent ${agent.agentId} is locked`)
      await agent.stop()
    })
  })
})

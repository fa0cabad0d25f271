// The only way out is a company's forward proxy: HTTPS_PROXY and NO_PROXY, alike for agent, ssh and the command.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { BIN, finish, lineOf, type Finished } from '../cli/postern.ts'
import { connectProxy, type ConnectProxy } from '../../support/connect-proxy.ts'
import { missing } from '../../support/peers.ts'
import { served, type Part, type Served } from '../../support/served.ts'
import { serverTls } from '../../support/tls.ts'

/** A name that only the forward proxy can resolve (RFC 6761 section 6.4). */
const NAME = 'gate.postern.invalid'
const FRONT = `${NAME}:8443`

describe.skipIf(missing('ssh'))('behind an HTTP CONNECT proxy', () => {
  let cluster: Served
  let forward: ConnectProxy
  let agent: Part
  let api: string
  const names = new Map<string, number>()
  let env: Record<string, string>
  let seen = 0

  const sinceThen = (): string[] => [...new Set(forward.made.slice(seen))].sort()
  const ssh = (more: Record<string, string> = {}): Promise<Finished> =>
    finish(
      cluster.launch('ssh', ['-F', cluster.sshConfig, 'web-1', 'echo through'], {
        ...env,
        ...more,
      }),
    )
  const ls = (more: Record<string, string> = {}): Promise<Finished> =>
    finish(
      cluster.launch(process.execPath, [BIN, 'ls', '--profile', join(cluster.dataDir, 'profile')], {
        ...env,
        ...more,
      }),
    )

  beforeAll(async () => {
    forward = await connectProxy(names)
    cluster = await served({ proxies: [FRONT] })
    api = new URL(cluster.origin).host
    const { dir } = cluster.home
    // The gate's certificate is of a CA that only NODE_EXTRA_CA_CERTS names.
    const tls = await serverTls(undefined, [NAME])
    const [cert_file, key_file, ca] = ['gate.crt', 'gate.key', 'gate-ca.pem'].map((file) =>
      join(dir, file),
    ) as [string, string, string]
    await writeFile(cert_file, tls.options.cert)
    await writeFile(key_file, tls.options.key, { mode: 0o600 })
    await writeFile(ca, tls.ca)
    const gate = await cluster.proxy('proxy-1', {
      more: { tls: { cert_file, key_file }, public_addr: FRONT },
    })
    names.set(FRONT, Number(gate.address.split(':')[1]))
    env = { HTTPS_PROXY: forward.url, NODE_EXTRA_CA_CERTS: ca }
    await cluster.knows([FRONT])
    agent = await cluster.agent('web-1', {
      type: 'node',
      services: { ssh_service: { enabled: true } },
      env,
    })
  }, 120_000)
  afterAll(async () => {
    await cluster.close()
    await forward.close()
  })
  beforeEach(() => {
    seen = forward.made.length
  })

  test('the agent joins and holds its tunnel through it', () => {
    expect([...new Set(forward.made)].sort()).toEqual([api, FRONT].sort())
    expect(forward.refused).toEqual([])
  })

  test('ssh goes through it, API and tunnel', async () => {
    expect(await ssh()).toMatchObject({ code: 0, stdout: 'through\n' })
    expect(sinceThen()).toContain(FRONT)
    expect(forward.refused).toEqual([])
  }, 60_000)

  test('postern ls goes through it, and past it where NO_PROXY says so', async () => {
    const through = await ls()
    expect(through.stdout).toContain('web-1')
    expect(through.code).toBe(0)
    expect(sinceThen()).toEqual([api])
    seen = forward.made.length
    const past = await ls({ NO_PROXY: '10.0.0.0/8, 127.0.0.0/8' })
    expect(past.stdout).toContain('web-1')
    expect(past.code).toBe(0)
    expect(sinceThen()).toEqual([])
  }, 60_000)

  test('NO_PROXY is asked for each address: ssh finds its route directly and its tunnel through the proxy', async () => {
    expect(await ssh({ no_proxy: '127.0.0.1' })).toMatchObject({ code: 0, stdout: 'through\n' })
    expect(sinceThen()).toEqual([FRONT])
    // Past the proxy nobody knows the gate's name: then it cannot have been used.
    const lost = await ssh({ NO_PROXY: '.postern.invalid' })
    expect(lost.code).toBe(255)
    expect(lost.stderr).toMatch(/ERR_UNREACHABLE|cannot be reached/)
  }, 90_000)

  test('without the CA the gate is refused, whoever carries the bytes', async () => {
    const refused = await ssh({ NODE_EXTRA_CA_CERTS: '' })
    expect(refused).toMatchObject({ code: 255, stdout: '' })
    expect(sinceThen()).toContain(FRONT)
  }, 90_000)

  test('a wrong login is refused, and said so', async () => {
    const wrong = await ls({ HTTPS_PROXY: forward.url.replace('user', 'nobody') })
    expect(wrong.code).not.toBe(0)
    expect(wrong.stderr).toMatch(/HTTPS proxy 127\.0\.0\.1:\d+ refused its login \(407\)/)
    expect(wrong.stderr).toContain('Check the login in HTTPS_PROXY')
    expect(wrong.stderr).not.toContain('p%40ss')
    expect(new Set(forward.refused)).toEqual(new Set([`407 ${api}`]))
    const from = forward.refused.length
    const lost = await ssh({ HTTPS_PROXY: forward.url.replace('user', 'nobody') })
    expect(lost).toMatchObject({ code: 255, stdout: '' })
    expect(lost.stderr).toContain('refused its login')
    // Each of the two that it asks for, once, without any of the ten seconds that other failures are given.
    expect(forward.refused.slice(from).length).toBeLessThanOrEqual(2)
  }, 60_000)

  test('when its connections break, the agent comes back through it', async () => {
    const back = lineOf(agent.log, /tunnel\.connected/)
    forward.cut()
    await back
    expect(await ssh()).toMatchObject({ code: 0, stdout: 'through\n' })
  }, 60_000)
})

/**
 * A rotation of each of the three keys under real processes: a proxy that is served alone, an agent, a signed-in person with
 * a listener that stays open. Nobody is restarted, nobody joins or signs in again, no phase is forced.
 */
import type { ChildProcess } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { served, type Part, type Served, type ServedProxy } from '../../support/served.ts'
import { BIN, finish, lineOf } from '../cli/postern.ts'
import { echoServer, type Echo } from './echo.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const ANN = ['--profile', './ann']
let cluster: Served
let proxy: ServedProxy
let agent: Part
let echo: Echo
let listener: ChildProcess
let port = 0

beforeAll(async () => {
  echo = await echoServer()
  cluster = await served({ hoursBehind: 15 })
  proxy = await cluster.proxy('proxy-1')
  await cluster.knows([proxy.address])
  const apps = [{ name: 'echo', uri: `tcp://127.0.0.1:${echo.port}` }]
  const services = { app_service: { enabled: true, apps }, ssh_service: { enabled: true } }
  agent = await cluster.agent('web', { type: 'node,app', services })
  await writeFile(join(cluster.home.dir, 'pw'), 'correct horse battery\n', { mode: 0o600 })
  const may = ['--roles=access', '--logins', userInfo().username]
  const user = ['users', 'add', 'ann', ...may, '--password-file', 'pw']
  expect(await cluster.run(...user)).toMatchObject({ code: 0 })
  await login()
  listener = cluster.launch(process.execPath, [BIN, 'proxy', 'app', 'echo', ...ANN])
  const line = await lineOf(createInterface(listener.stdout ?? process.stdin), /^127\.0\.0\.1:\d+$/)
  port = Number(line.split(':')[1])
}, 180_000)
afterAll(async () => {
  await cluster.close()
  echo.close()
})

/** `pin`: of the first host CA, once; afterwards the profile knows. */
async function login(pin = cluster.caPin): Promise<void> {
  const where = ['--proxy', cluster.origin, '--ca-pin', pin, '--user', 'ann']
  const done = await cluster.run('login', ...ANN, ...where, '--password-file', 'pw')
  expect([done.code, done.stderr]).toEqual([0, expect.any(String)])
}

/** Whether a new connection carries bytes there and back. */
function answers(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.once('data', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('close', () => resolve(false))
    socket.write('?')
  })
}
/** After time has leapt, the proxy's lease is over until it renews it: a few seconds, as after a pause of the machine. */
async function reached(): Promise<void> {
  while (!(await answers()));
}
/** By stock OpenSSH, whose own clock is the machine's: good for certificates that are. */
async function ssh(): Promise<void> {
  const args = ['-F', join(cluster.home.dir, 'ann', 'ssh_config'), 'web', 'echo through']
  for (;;) {
    const { stdout, stderr } = await finish(cluster.launch('ssh', args))
    if (stderr.startsWith('error: offline')) continue
    return expect([stderr, stdout]).toEqual(['', 'through\n'])
  }
}
/** Next words of the proxy and the agent that they have another policy. */
const told = (): Promise<unknown> =>
  Promise.all([lineOf(proxy.log, /proxy\.policy /), lineOf(agent.log, /policy\.updated /)])

async function move(type: string, phase: string): Promise<void> {
  const next = told()
  await cluster.call('POST', `/v1/cas/${type}/rotate`, { phase })
  await next
}
const inProfile = (name: string): Promise<string> =>
  readFile(join(cluster.home.dir, 'ann', name), 'utf8')
const known = async (): Promise<string[]> => {
  const text = await inProfile('ca.pem')
  return text.match(/-----BEGIN[\s\S]+?-----END CERTIFICATE-----/g) ?? []
}

test('proxy, agent and profile follow a rotation of the host CA', async () => {
  await reached()
  const [first] = await known()
  const hosts = await inProfile('known_hosts')
  for (const phase of ['init', 'update_clients', 'update_servers']) {
    await move('host', phase)
    // A phase lasts a minute at least.
    cluster.pass(MINUTE)
    await reached()
  }
  const renewed = [
    lineOf(proxy.log, /agent\.renewed /),
    ...['ssh', 'app'].map((kind) =>
      lineOf(agent.log, new RegExp(`agent\\.renewed .*service=${kind}`)),
    ),
  ]
  // By hand, everybody renews within ten minutes.
  cluster.pass(10 * MINUTE)
  await Promise.all(renewed)
  // Refused as long as somebody holds a certificate of the old key.
  const last = told()
  const done = await cluster.run('ca', 'rotate', '--type', 'host', '--phase', 'standby')
  expect([done.stderr, done.code]).toEqual([expect.any(String), 0])
  await last
  await reached()
  expect(await known()).toHaveLength(1)
  expect(await known()).not.toContain(first)
  expect(await inProfile('known_hosts')).not.toBe(hosts)
  const list = await cluster.run('ls', ...ANN)
  expect([list.code, list.stderr]).toEqual([0, ''])
  expect(list.stdout).toMatch(/^app +echo +online/m)
  expect(listener.exitCode).toBeNull()
}, 180_000)

test('and one of the policy key, by which they believe all of this', async () => {
  const keys = await inProfile('policy-keys.json')
  for (const phase of ['init', 'update_clients', 'update_servers']) {
    await move('policy', phase)
    cluster.pass(MINUTE)
  }
  await reached()
  // Routes of the old key may be in use until they end.
  cluster.pass(5 * MINUTE)
  await move('policy', 'standby')
  await reached()
  expect(await inProfile('policy-keys.json')).not.toBe(keys)
  expect(agent.said() + proxy.said()).not.toMatch(/policy\.push_refused|policy_not_fetched/)
}, 180_000)

test('proxy and agent follow a rotation of the user CA, by the time that certificates of the old key have ended', async () => {
  for (const phase of ['init', 'update_clients']) {
    await move('user', phase)
    cluster.pass(MINUTE)
  }
  // Certificates of both keys are good.
  await reached()
  await move('user', 'update_servers')
  cluster.pass(MINUTE)
  const early = await cluster.run('ca', 'rotate', '--type', 'user', '--phase', 'standby')
  expect(early.code).not.toBe(0)
  expect(early.stderr).toMatch(/user certificates of the other key may be in use for/)
  cluster.pass(12 * HOUR)
  await move('user', 'standby')
  // Twelve hours are a whole life of her certificates: she signs in as on any other day, without any pin, and the listener takes
  // the new ones up.
  const ended = await cluster.run('ls', ...ANN)
  expect(ended.code).not.toBe(0)
  const done = await cluster.run('login', ...ANN, '--password-file', 'pw')
  expect([done.code, done.stderr]).toEqual([0, expect.any(String)])
  await reached()
  // The agent's certificate is of the host CA that came, hers of the user CA that came.
  await ssh()
  expect(listener.exitCode).toBeNull()
}, 180_000)

/** Credentials of real agent processes: one that was copied with its data directory, one of a service that left the configuration. */
import { execFileSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openIdentityStore } from '../../../agent/identity/store.ts'
import { systemRandom } from '../../../core/random.ts'
import { apiClient } from '../../../net/http-client.ts'
import { served, type Part, type Served } from '../../support/served.ts'
import { lineOf } from '../cli/postern.ts'

const HOUR = 3_600_000
let cluster: Served

beforeAll(async () => {
  cluster = await served({ hoursBehind: 16 })
  await cluster.knows([(await cluster.proxy('proxy-1')).address])
}, 120_000)
afterAll(() => cluster.close())

const APP_CONNECTED = /tunnel\.connected .*service=app/
const app = (name: string) => ({
  app_service: { enabled: true, apps: [{ name, uri: 'tcp://127.0.0.1:1' }] },
})
const configOf = (name: string): string => join(cluster.home.dir, `${name}.yaml`)
const dirOf = (name: string): string => join(cluster.home.dir, name)
/** `cp -a`, as a backup, a cloned image or a thief does it. */
function copyDir(from: string, to: string): void {
  execFileSync('cp', ['-a', dirOf(from), dirOf(to)])
  // On another machine it would name a process that is not there.
  rmSync(join(dirOf(to), 'agent.lock'))
}
const ls = async (): Promise<string> => (await cluster.run('ls')).stdout

test('a service that leaves the configuration at SIGHUP gives its credential back; a copy is worth nothing', async () => {
  const services = { ...app('gone'), ssh_service: { enabled: true } }
  const agent = await cluster.agent('two', { type: 'node,app', services })
  await online(agent, 'app')
  await online(agent, 'ssh')
  copyDir('two', 'kept-copy')
  const held = await (await openIdentityStore(dirOf('kept-copy'), systemRandom)).load('app')
  if (!held) throw new Error('no identity was copied')
  const { stored, certificate, signer } = held
  const copy = apiClient({
    baseUrl: cluster.origin,
    trust: { system: false, ca: stored.credentials.host_ca.x509 },
    cluster: stored.credentials.cluster,
    identity: () => ({ certificate, signer }),
  })
  await copy.request('GET', '/v1/policy/freshness')
  expect(await ls()).toMatch(/^app +gone/m)
  // The copy runs as an agent too, and has its tunnels.
  const yaml = await readFile(configOf('two'), 'utf8')
  await writeFile(configOf('kept-copy'), yaml.replace(dirOf('two'), dirOf('kept-copy')))
  const thief = await cluster.part(['agent', 'start', '-c', configOf('kept-copy')], APP_CONNECTED)

  const locked = /tunnel\.lost .*service=app .*ERR_LOCKED/
  const cut = lineOf(thief.log, locked)
  const left = lineOf(agent.log, /agent\.service_left .*service=app/)
  await writeFile(configOf('two'), yaml.replace(/app_service:[\s\S]*?(?=ssh_service:)/, ''))
  agent.signal('SIGHUP')
  await left

  // No tunnel any more, neither the one that it had nor another; the other service, which nobody took away, goes on.
  await cut
  await lineOf(thief.log, locked)
  expect(thief.said()).not.toMatch(/tunnel\.lost .*service=ssh/)
  thief.signal('SIGTERM')
  await thief.exited
  await expect(copy.request('GET', '/v1/policy/freshness')).rejects.toMatchObject({
    code: 'ERR_UNAUTHENTICATED',
  })
  copy.close()
  expect(await ls()).not.toMatch(/gone/)
  expect(await ls()).toMatch(/^node +two/m)
  expect((await cluster.run('events', '--type', 'agent.leave')).stdout).toMatch(/agent\.leave/)
  expect(existsSync(join(dirOf('two'), 'app', 'identity.json'))).toBe(false)
  expect(agent.said()).not.toMatch(/tunnel\.lost .*service=ssh/)
}, 120_000)

test('a live data_dir that is copied is noticed at the next renewal: locked, in the audit log, both tunnels closed', async () => {
  const first = await cluster.agent('web', { type: 'app', services: app('web') })
  copyDir('web', 'web-copy')
  const yaml = await readFile(configOf('web'), 'utf8')
  await writeFile(configOf('web-copy'), yaml.replace(dirOf('web'), dirOf('web-copy')))
  const start = ['agent', 'start', '-c', configOf('web-copy')]
  const second = await cluster.part(start, /tunnel\.connected/)

  // The one whose renewal shows it is told so, and ends; the other is cut off by the lock.
  const over = /service\.failed .*ERR_RENEWAL_REFUSED|tunnel\.lost .*ERR_LOCKED/
  const closed = [first, second].map(({ log }) => lineOf(log, over))
  // Renewals fall due between 0.4 and 0.6 of 24 h.
  cluster.pass(15 * HOUR)
  const said = await Promise.all(closed)
  expect(said.join()).toMatch(/ERR_RENEWAL_REFUSED/)
  const left = [first, second].find((_, i) => /ERR_LOCKED/.test(said[i] ?? ''))
  if (!left) throw new Error(said.join('\n'))
  const id = /agent\.joined .*agent=(ag_\w+)/.exec(first.said())?.[1] ?? ''
  const events = await cluster.run('events', '--type', 'lock.create')
  expect(events.stdout).toMatch(new RegExp(`lock\\.create.*${id}.*copied identity`))
  const locks = (await cluster.run('get', 'lock')).stdout
  expect(locks).toContain(`agent: ${id}`)

  // Whoever looked into it lifts the lock: the one that is left serves on, and nobody joins anew.
  const back = lineOf(left.log, /tunnel\.connected /)
  const name = /name: (\S+)/.exec(locks)?.[1] ?? ''
  expect(await cluster.run('rm', `lock/${name}`)).toMatchObject({ code: 0 })
  await back
  expect(left.said()).not.toMatch(/agent\.joined [\s\S]*agent\.joined /)
}, 120_000)

async function online(agent: Part, service: string): Promise<void> {
  const line = new RegExp(`announce\\.done .*service=${service}`)
  if (!line.test(agent.said())) await lineOf(agent.log, line)
}

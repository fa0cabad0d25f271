/**
 * A day of simulated time over a real control plane, proxy and agents: renewals, a rotation that runs by itself, one that is taken
 * back, a copied identity and a lock, under streams that stay open and tunnels that are never lost.
 */
import { cpSync, existsSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { caList } from '../../../core/api/cas.ts'
import { LIMITS } from '../../../core/limits.ts'
import { handClock } from '../../support/clock.ts'
import { openGate, type Gate, type GateAgent } from '../agent/gate.ts'
import { driver, openStream, type Driver } from './driver.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
// Node's own TLS looks at the machine's clock: every certificate of the day holds at this moment as well.
const clock = handClock(Date.now() - 21 * HOUR)

let gate: Gate
let time: Driver
let target: Server
const agents = new Map<string, GateAgent>()
let hour = 0

beforeAll(async () => {
  time = driver(clock)
  target = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve))
  // A day is some 17,000 synced writes of the proxy's lease: in memory where that can be had.
  const root = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  gate = await time.during(openGate({ clock, root }))
  time.store = () => gate.cluster.plane.stores.policy.version()
  // As `postern up` does every minute.
  clock.every(MINUTE, () => void gate.cluster.renew())
})
afterAll(async () => {
  await time.during(gate.close())
  time.close()
  target.close()
})

const services = (name: string): string =>
  `app_service: { enabled: true, apps: [{ name: ${name}, uri: "tcp://127.0.0.1:${(target.address() as AddressInfo).port}" }] }`

async function start(name: string, token: string): Promise<void> {
  const dataDir = join(gate.dir, name)
  const agent = await gate.start({ token, nodename: name, dataDir, services: services(name) })
  await time.during(agent.agent.settled())
  expect(agent.agent.services.get('app')?.state).toBe('online')
  agents.set(name, agent)
}
const of = (name: string): GateAgent => {
  const found = agents.get(name)
  if (!found) throw new Error(name)
  return found
}
const logged = (name: string, event: string) =>
  of(name).log.entries.filter((entry) => entry.event === event)
const generations = (name: string): number => logged(name, 'agent.renewed').length

async function streamTo(name: string, user: string) {
  const session = await time.during(gate.user(user, ['access']))
  const { port } = await time.during(gate.listen(session, name))
  return time.during(openStream(port))
}

const cas = async () => {
  const { items } = caList.parse(await gate.operator.request('GET', '/v1/cas'))
  const host = items.find((one) => one.name === 'host')
  if (!host) throw new Error('no host CA')
  return host
}
const rotate = (body: object) =>
  time.during(gate.operator.request('POST', '/v1/cas/host/rotate', body))

test('a day with renewals, a rotation, a rollback, a clone and a lock loses no tunnel', async () => {
  const token = await time.during(gate.mint({ max_uses: 3 }))
  for (const name of ['steady', 'copied', 'struck']) await start(name, token)
  const ids = new Map([...agents].map(([name, { agent }]) => [name, agent.agentId]))
  let stream = await streamTo('steady', 'ann')
  const until = (to: number) => {
    const ms = (to - hour) * HOUR
    hour = to
    return time.pass(ms, () => stream.beat())
  }
  const [pinBefore] = gate.cluster.plane.caPins

  // A rotation by itself: everybody is on the new key before the old one goes.
  await until(1)
  await rotate({ grace: '9h' })
  await until(9)
  expect(await time.during(cas())).toMatchObject({ phase: 'update_servers' })
  for (const name of agents.keys()) expect([name, generations(name)]).toEqual([name, 1])
  await until(10.5)
  const rotated = await time.during(cas())
  expect(rotated).toMatchObject({ phase: 'standby', retired: [pinBefore] })
  expect(gate.cluster.plane.caPins).toEqual([rotated.signs.pin])

  // The certificate of the user ends after twelve hours; a second stream takes over before.
  const first = stream
  stream = await streamTo('steady', 'ann')
  await first.beat()
  first.end()

  // The next rotation goes as far as it can, and back.
  await until(12)
  for (const phase of ['init', 'update_clients', 'update_servers']) {
    await rotate({ phase })
    await time.pass(MINUTE, () => stream.beat())
  }
  await until(12.5)
  for (const name of agents.keys()) expect([name, generations(name)]).toEqual([name, 2])

  // A copy of an identity, as from a stolen disk: at the next renewal one of the two is one too many.
  const copy = join(gate.dir, 'copy')
  cpSync(of('copied').dataDir, copy, { recursive: true })
  rmSync(join(copy, 'agent.lock'), { force: true })
  const clone = await gate.start({
    nodename: 'copied',
    dataDir: copy,
    services: services('copied'),
  })
  await time.during(clone.agent.settled())
  expect(clone.agent.agentId).toBe(ids.get('copied'))

  await time.during(gate.operator.request('POST', '/v1/cas/host/rollback', {}))
  await until(13)
  for (const name of ['steady', 'struck']) expect([name, generations(name)]).toEqual([name, 3])
  const caught = await time.during(
    gate.event((e) => e.type === 'lock.create' && e.reason === 'copied identity'),
  )
  expect(caught.resource).toBe(`agent/${ids.get('copied')}`)
  const states = [of('copied').agent, clone.agent].map((a) => a.services.get('app')?.state)
  expect(states).not.toContain('online')
  await rotate({ phase: 'standby', force: true })
  expect(await time.during(cas())).toMatchObject({ phase: 'standby', signs: rotated.signs })

  // A lock is in force within two seconds, at the proxy and at the agent.
  const doomed = await streamTo('struck', 'bob')
  await doomed.beat()
  await time.during(
    gate.operator.request('POST', '/v1/locks', { target: { service: `${ids.get('struck')}/app` } }),
  )
  let cut = false
  void doomed.closed.then(() => (cut = true))
  await time.pass(2 * LIMITS.policyPoll.value, () => stream.beat())
  await time.during(doomed.closed)
  expect(cut).toBe(true)

  await until(24)
  await stream.beat()
  expect(of('steady').agent.agentId).toBe(ids.get('steady'))
  // Half life after the last: the day ends with everybody renewed again.
  expect(generations('steady')).toBe(4)
  expect(logged('steady', 'tunnel.lost')).toEqual([])
  expect(logged('steady', 'tunnel.connected')).toHaveLength(1)
  expect(logged('struck', 'tunnel.connected')).toHaveLength(1)
  expect(gate.log.entries.filter((e) => e.event === 'test.resumed')).toEqual([])
  expect(stream.beats).toBeGreaterThan(1_000)
}, 600_000)

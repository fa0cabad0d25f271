/**
 * A day of simulated time over a real control plane, proxy and agents: renewals, a rotation that runs by itself, one that is taken
 * back, a copied identity and a lock, under streams that answer all the time and tunnels that are never lost.
 */
import { cpSync, existsSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { caList } from '../../../core/api/cas.ts'
import { LIMITS } from '../../../core/limits.ts'
import { handClock } from '../../support/clock.ts'
import { leaping, type Leaping } from '../../support/leaping.ts'
import { openGate, type AuditLine, type Gate, type GateAgent } from '../agent/gate.ts'
import { echoServer, openStream, type Echo, type EchoStream } from './echo.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
// Node's own TLS looks at the machine's clock: every certificate that it sees in this day holds at this moment as well.
const clock = handClock(Date.now() - 23 * HOUR)

let gate: Gate
let time: Leaping
let echo: Echo
const agents = new Map<string, GateAgent>()
const streams: EchoStream[] = []
let hour = 0

/** Nothing is done to these but what is done to all. */
const UNTOUCHED = ['steady', 'second']
const BEAT = 6 * MINUTE

beforeAll(async () => {
  time = leaping(clock)
  echo = await echoServer()
  // A day is thousands of synced writes of the proxy's lease: in memory where that can be had.
  const root = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  gate = await time.during(openGate({ clock, root }))
  // As `postern up` does every minute.
  clock.every(MINUTE, () => void gate.cluster.renew())
})
afterAll(async () => {
  await time.during(gate.close())
  time.stop()
  echo.close()
})

const services = (name: string): string =>
  `app_service: { enabled: true, apps: [{ name: ${name}, uri: "tcp://127.0.0.1:${echo.port}" }] }`

async function start(name: string, token: string): Promise<void> {
  const dataDir = join(gate.dir, name)
  const agent = await time.during(
    gate.start({ token, nodename: name, dataDir, services: services(name) }),
  )
  await time.during(agent.agent.settled())
  agents.set(name, agent)
}
const of = (name: string): GateAgent => {
  const found = agents.get(name)
  if (!found) throw new Error(name)
  return found
}
const logged = (name: string, event: string) =>
  of(name).log.entries.filter((entry) => entry.event === event)
const renewals = (name: string): number => logged(name, 'agent.renewed').length
/** As from a stolen disk, in use beside the one that it was taken from. */
async function copyOf(name: string): Promise<GateAgent> {
  const dataDir = join(gate.dir, `${name}-copy`)
  cpSync(of(name).dataDir, dataDir, { recursive: true })
  rmSync(join(dataDir, 'agent.lock'), { force: true })
  const copy = await time.during(gate.start({ nodename: name, dataDir, services: services(name) }))
  await time.during(copy.agent.settled())
  return copy
}
const stateOf = ({ agent }: GateAgent) => agent.services.get('app')?.state

/** A connection of a user who signs in for it. */
async function streamTo(name: string, user: string): Promise<EchoStream> {
  const session = await time.during(gate.user(user, ['access']))
  const { port } = await time.during(gate.listen(session, name))
  const stream = await openStream(port, time)
  streams.push(stream)
  return stream
}

const ask = (method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> =>
  time.during(gate.operator.request(method, path, body))
const rotate = (body: object): Promise<unknown> => ask('POST', '/v1/cas/host/rotate', body)
const hostCa = async () => {
  const { items } = caList.parse(await ask('GET', '/v1/cas'))
  return items.find((one) => one.name === 'host')
}
const events = async (): Promise<readonly AuditLine[]> =>
  ((await ask('GET', '/v1/events?limit=500')) as { items: AuditLine[] }).items

/** Whatever is open answers every six minutes of the day. */
async function until(to: number): Promise<void> {
  const ms = (to - hour) * HOUR
  hour = to
  let since = 0
  await time.pass(ms, async (passed) => {
    since += passed
    if (since < BEAT) return
    since = 0
    for (const stream of streams) if (stream.open) await stream.beat()
  })
}

test('a day with renewals, a rotation, a rollback, a clone and a lock loses no tunnel', async () => {
  const token = await time.during(gate.mint({ max_uses: 4, ttl: '24h' }))
  for (const name of [...UNTOUCHED, 'copied']) await start(name, token)
  const [pinBefore] = gate.cluster.plane.caPins
  const first = await streamTo('steady', 'ann')
  await until(0.5)
  const clone = await copyOf('copied')
  const both = [of('copied'), clone]
  expect(both.map(stateOf)).toEqual(['online', 'online'])

  // A rotation by hand goes as far as it can, and back. In its last phase everybody renews within ten minutes.
  for (const phase of ['init', 'update_clients', 'update_servers']) {
    await rotate({ phase, ...(phase === 'init' && { grace: '2h' }) })
    await until(hour + 0.1)
  }
  await until(hour + 0.1)
  for (const name of UNTOUCHED) expect([name, renewals(name)]).toEqual([name, 1])

  // At their renewal, one of the two copies was one too many.
  expect(await events()).toContainEqual(
    expect.objectContaining({
      type: 'lock.create',
      reason: 'copied identity',
      resource: `agent/${clone.agent.agentId}`,
    }),
  )
  expect(both.map(stateOf)).not.toContain('online')
  for (const { agent } of both) await time.during(agent.stop())

  await ask('POST', '/v1/cas/host/rollback', {})
  await until(hour + 0.7)
  for (const name of UNTOUCHED) expect([name, renewals(name)]).toEqual([name, 2])
  await until(2.5)
  expect(await hostCa()).toMatchObject({ phase: 'standby', signs: { pin: pinBefore } })

  // A session ends with the certificate that opened it: after twelve hours, and not before.
  await until(11.5)
  const second = await streamTo('steady', 'ann')
  await until(11.99)
  expect(first.open).toBe(true)
  await until(12.01)
  expect(first.open).toBe(false)
  expect(await events()).toContainEqual(
    expect.objectContaining({
      type: 'app.end',
      reason: expect.stringMatching(/certificate expired/) as string,
    }),
  )

  // Nobody asked for this renewal: it falls due between 0.4 and 0.6 of 24 h after the last.
  await until(16.2)
  for (const name of UNTOUCHED) expect([name, renewals(name)]).toEqual([name, 3])

  // A rotation by itself: everybody holds a certificate of the new key before the old one goes.
  await start('struck', token)
  await rotate({ grace: '390m' })
  await until(21)
  expect(await hostCa()).toMatchObject({ phase: 'update_servers' })
  for (const name of UNTOUCHED) expect([name, renewals(name)]).toEqual([name, 4])
  await until(22.8)
  expect(await hostCa()).toMatchObject({
    phase: 'standby',
    retired: expect.arrayContaining([pinBefore]) as string[],
  })
  expect(gate.cluster.plane.caPins).not.toContain(pinBefore)

  // A lock by an operator is in force within two seconds, at a session that is open.
  await streamTo('steady', 'ann')
  const doomed = await streamTo('struck', 'bob')
  await doomed.beat()
  await ask('POST', '/v1/locks', { target: { service: `${of('struck').agent.agentId}/app` } })
  expect(doomed.open).toBe(true)
  for (let ms = 0; ms < 2 * LIMITS.policyPoll.value; ms += LIMITS.policyPoll.value)
    await time.pass(LIMITS.policyPoll.value)
  expect(doomed.open).toBe(false)
  expect(stateOf(of('struck'))).not.toBe('online')
  await time.during(of('struck').agent.stop())

  // Every stream of the untouched agent answered to the end of its certificate, or of the day.
  await until(23.4)
  expect(second.open).toBe(true)
  await until(24)
  expect(streams.map(({ open }) => open)).toEqual([false, false, true, false])
  for (const { beats } of [first, second]) expect(beats).toBeGreaterThan(100)
  for (const name of UNTOUCHED) {
    expect(logged(name, 'tunnel.connected')).toHaveLength(1)
    expect(logged(name, 'tunnel.lost')).toEqual([])
    expect(stateOf(of(name))).toBe('online')
  }
  const never = /test\.|proxy\.(lease|policy_not|presence_write)|up\.renewal_failed/
  expect(gate.log.entries.filter(({ event }) => never.test(event))).toEqual([])
}, 600_000)

/** Locks on a service and on a token, at a proxy and agents that are connected: in force within two seconds, and nothing else is. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { LIMITS } from '../../../core/limits.ts'
import { handClock } from '../../support/clock.ts'
import { leaping, type Leaping } from '../../support/leaping.ts'
import { openGate, type Gate, type GateAgent } from '../agent/gate.ts'
import { echoServer, openStream, type Echo, type EchoStream } from './echo.ts'

const MINUTE = 60_000
const clock = handClock(Date.now() - 30 * MINUTE)
let time: Leaping
let gate: Gate
let echo: Echo

beforeAll(async () => {
  time = leaping(clock)
  echo = await echoServer()
  gate = await time.during(openGate({ clock }))
})
afterAll(async () => {
  await time.during(gate.close())
  echo.close()
  time.stop()
})

async function start(name: string, token: string, more = ''): Promise<GateAgent> {
  const app = `app_service: { enabled: true, apps: [{ name: ${name}, uri: "tcp://127.0.0.1:${echo.port}" }] }`
  const dataDir = join(gate.dir, name)
  const spec = { token, nodename: name, dataDir, services: `${app}\n${more}` }
  const agent = await time.during(gate.start(spec))
  await time.during(agent.agent.settled())
  return agent
}
async function streamTo(name: string, user: string): Promise<EchoStream> {
  const session = await time.during(gate.user(user, ['access']))
  const { port } = await time.during(gate.listen(session, name))
  return openStream(port, time)
}
/** Everything that the proxy's polling of the policy promises: two looks, two seconds. */
const twoSeconds = async (): Promise<void> => {
  for (let i = 0; i < 2; i += 1) await time.pass(LIMITS.policyPoll.value)
}
const lock = async (target: object): Promise<string> => {
  const made = await time.during(gate.operator.request('POST', '/v1/locks', { target }))
  return (made as { metadata: { name: string } }).metadata.name
}
const states = ({ agent }: GateAgent) =>
  Object.fromEntries([...agent.services].map(([kind, { state }]) => [kind, state]))
const policyOf = ({ log }: Pick<GateAgent, 'log'>, event: string): unknown =>
  log.entries.filter((entry) => entry.event === event).at(-1)?.fields['version']

test('a lock on one service ends its sessions and its tunnel; the same agent serves on', async () => {
  const token = await time.during(gate.mint({ roles: ['App', 'Node'], max_uses: 2 }))
  const struck = await start('struck', token, 'ssh_service: { enabled: true }')
  await start('spared', token)
  const [doomed, other] = [await streamTo('struck', 'ann'), await streamTo('spared', 'bob')]
  expect(states(struck)).toEqual({ app: 'online', ssh: 'online' })

  const name = await lock({ service: `${struck.agent.agentId}/app` })
  await doomed.beat()
  await twoSeconds()
  expect(doomed.open).toBe(false)
  await other.beat()
  expect(states(struck)).toEqual({ app: 'connecting', ssh: 'online' })
  // The agent has the word itself, over the tunnel of its other service, and would refuse whatever a proxy let through.
  expect(policyOf(struck, 'policy.updated')).toBe(policyOf(gate, 'proxy.policy'))
  await expect(streamTo('struck', 'cid')).rejects.toThrow('did not open')

  await time.during(gate.operator.request('DELETE', `/v1/locks/${name}`))
  await time.pass(MINUTE)
  expect(states(struck)).toEqual({ app: 'online', ssh: 'online' })
  await (await streamTo('struck', 'ann')).beat()
  await other.beat()
})

test('a lock on a token strikes every agent that it let in, and no other', async () => {
  const body = { name: 'leaked', max_uses: 2 }
  const leaked = await time.during(gate.mint(body))
  const agents = [await start('one', leaked), await start('two', leaked)]
  const kept = await start('kept', await time.during(gate.mint()))
  const doomed = [await streamTo('one', 'ann'), await streamTo('two', 'bob')]
  const other = await streamTo('kept', 'cid')

  await lock({ token: 'leaked' })
  for (const stream of doomed) await stream.beat()
  await twoSeconds()
  expect(doomed.map(({ open }) => open)).toEqual([false, false])
  expect(agents.map(states)).toEqual([{ app: 'connecting' }, { app: 'connecting' }])
  await other.beat()
  expect(states(kept)).toEqual({ app: 'online' })
})

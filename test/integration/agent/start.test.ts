/** Starting, joining, refusing and restarting an agent against a real gate. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAgentConfig } from '../../../agent/config.ts'
import { startAgent } from '../../../agent/main.ts'
import { instant, systemClock, type Clock } from '../../../core/clock.ts'
import { recordingLog } from '../../support/recording-log.ts'
import { openGate, type AgentSpec, type Gate } from './gate.ts'

let gate: Gate
let n = 0
beforeAll(async () => {
  gate = await openGate()
})
afterAll(() => gate.close())

/** A fresh agent's directory and name. */
const fresh = (): { dataDir: string; nodename: string } => {
  n += 1
  return { dataDir: join(gate.dir, `agent-${n}`), nodename: `node-${n}` }
}
const BOTH = 'app_service: { enabled: true, apps: [] }\nssh_service: { enabled: true }'

describe('starting', () => {
  test('without an identity and without a token it says so at once', async () => {
    await expect(gate.start(fresh())).rejects.toMatchObject({ code: 'ERR_TOKEN_NEEDED' })
  })

  test('a token file that every user can read is refused', async () => {
    const token = join(gate.dir, 'open-token')
    writeFileSync(token, await gate.mint())
    chmodSync(token, 0o644)
    await expect(gate.start({ ...fresh(), token })).rejects.toMatchObject({
      code: 'ERR_TOKEN_NEEDED',
      message: /open to every user/,
    })
  })

  test('two agents never share a data directory', async () => {
    const spec = { ...fresh(), token: await gate.mint() }
    const first = await gate.start(spec)
    await expect(gate.start(spec)).rejects.toMatchObject({
      code: 'ERR_DATA_DIR_HELD',
      message: expect.stringContaining(String(process.pid)) as string,
    })
    await first.agent.settled()
    await first.agent.stop()
  })

  test('a restart keeps the identity and does not read the token', async () => {
    const spec = fresh()
    const token = join(gate.dir, `token-${n}`)
    writeFileSync(token, `${await gate.mint()}\n`, { mode: 0o600 })
    const first = await gate.start({ ...spec, token })
    await first.agent.settled()
    const { agentId } = first.agent
    await first.agent.stop()
    rmSync(token)
    const second = await gate.start({ ...spec, token })
    await second.agent.settled()
    expect(second.agent.services.get('app')?.state).toBe('online')
    expect(second.agent.agentId).toBe(agentId)
    expect(second.log.entries.map((e) => e.event)).not.toContain('agent.joined')
    await second.agent.stop()
  })

  test('no secret is in the log or in the files of the data directory', async () => {
    const secret = await gate.mint()
    const { agent, log, dataDir } = await gate.start({ ...fresh(), token: secret })
    await agent.settled()
    await agent.stop()
    const files = ['cluster.json', 'policy.json', 'app/identity.json', 'enrolment.pem']
    const text = files.map((f) => readFileSync(join(dataDir, f), 'utf8')).join()
    expect(text + JSON.stringify(log.entries)).not.toContain(secret)
  })
})

describe('joining', () => {
  test('a service that the token does not allow fails alone, and the line names it and the roles', async () => {
    const { agent, log } = await gate.start({
      ...fresh(),
      token: await gate.mint({ roles: ['App'] }),
      services: BOTH,
    })
    await agent.settled()
    expect(agent.services.get('app')?.state).toBe('online')
    expect(agent.services.get('ssh')).toMatchObject({
      state: 'failed',
      error: { code: 'ERR_JOIN_SERVICE_NOT_ALLOWED' },
    })
    const line = await log.seen('service.failed')
    expect(line.fields['message']).toBe(
      'service ssh needs a token with role Node; this token is for App',
    )
    await agent.stop()
  })

  test('a service enabled later joins alone, under the same agent id, while the others run', async () => {
    const spec: AgentSpec = { ...fresh(), token: await gate.mint({ roles: ['App'] }) }
    const { agent, log } = await gate.start(spec)
    await agent.settled()
    const { agentId } = agent
    const seen: string[] = []
    agent.onState((kind, state) => seen.push(`${kind} ${state.state}`))
    const next = gate.yaml({
      ...spec,
      token: await gate.mint({ roles: ['Node'] }),
      services: BOTH,
    })
    await agent.reload(parseAgentConfig(next, { hostname: 'test-host' }))
    await log.seen('agent.joined', (e) => e.fields['service'] === 'ssh')
    expect(agent.agentId).toBe(agentId)
    expect(agent.services.get('app')?.state).toBe('online')
    expect(seen.filter((s) => s.startsWith('app'))).toEqual([])
    await agent.stop()
  })

  test('a used token is refused, told briefly here and exactly in the audit log', async () => {
    const token = await gate.mint()
    const first = await gate.start({ ...fresh(), token })
    await first.agent.settled()
    const second = await gate.start({ ...fresh(), token })
    await second.agent.settled()
    expect(second.agent.services.get('app')).toMatchObject({
      state: 'failed',
      error: { code: 'ERR_JOIN_REFUSED', message: 'The join was refused' },
    })
    const event = await gate.event(
      (e) => e.type === 'agent.join' && e.outcome === 'refused' && /used/.test(e.reason ?? ''),
    )
    expect(event.reason).toMatch(/used/)
    await Promise.all([first.agent.stop(), second.agent.stop()])
  })

  test('a node name that another agent holds is refused by name', async () => {
    const one = fresh()
    const services = 'ssh_service: { enabled: true }'
    const mint = (): Promise<string> => gate.mint({ roles: ['Node'] })
    const first = await gate.start({ ...one, services, token: await mint() })
    await first.log.seen('agent.joined')
    const { nodename } = one
    const second = await gate.start({ ...fresh(), nodename, services, token: await mint() })
    await second.agent.settled()
    expect(second.agent.services.get('ssh')).toMatchObject({ error: { code: 'ERR_NAME_TAKEN' } })
    await Promise.all([first.agent.stop(), second.agent.stop()])
  })

  // Somebody in between answers for the cluster: the secret must not reach them.
  test('with another pin nothing secret is sent', async () => {
    const token = await gate.mint()
    const spec = { ...fresh(), token }
    const yaml = gate.yaml(spec).replace(/sha256:.*/, `sha256:${'0'.repeat(64)}`)
    const config = parseAgentConfig(yaml, { hostname: 'test-host' })
    const agent = await startAgent({ config, log: recordingLog(), env: {} })
    await agent.settled()
    expect(agent.services.get('app')).toMatchObject({
      state: 'failed',
      error: { code: 'ERR_CA_PIN_MISMATCH' },
    })
    await agent.stop()
    // The token was not used up: it still joins.
    const again = await gate.start({ ...fresh(), token })
    await again.agent.settled()
    expect(again.agent.services.get('app')?.state).toBe('online')
    await again.agent.stop()
  })

  test('without a pin a certificate that nobody vouches for is refused, with what to do', async () => {
    const { agent, log } = await gate.start({ ...fresh(), token: await gate.mint(), pins: false })
    const line = await log.seen('join.retry')
    expect(line.fields).toMatchObject({ code: 'ERR_UNREACHABLE' })
    expect(line.fields['message']).toMatch(/does not trust its certificate: set ca_pin/)
    expect(agent.services.get('app')?.state).toBe('joining')
    await agent.stop()
  })
})

describe('a clock that is wrong', () => {
  const shifted = (ms: number): Clock => ({
    ...systemClock,
    now: () => instant(systemClock.now() + ms),
  })
  test.each([
    ['two hours behind', -2 * 3_600_000],
    ['two hours ahead', 2 * 3_600_000],
  ])('%s: the agent learns the time from the control plane and works', async (_what, ms) => {
    const { agent } = await gate.start({
      ...fresh(),
      token: await gate.mint(),
      clock: shifted(ms),
    })
    await agent.settled()
    expect(agent.services.get('app')?.state).toBe('online')
    await agent.stop()
  })
})

describe('renewal', () => {
  test('swaps the identity while the tunnel stays, and new streams use the new one', async () => {
    const waiting: (() => void)[] = []
    let ahead = 0
    // What waits for long is let go by hand, on a machine that has slept for half a day.
    const clock: Clock = {
      ...systemClock,
      now: () => instant(systemClock.now() + ahead),
      after(ms, fn) {
        if (ms < 600_000) return systemClock.after(ms, fn)
        waiting.push(fn)
        return { cancel: () => undefined }
      },
    }
    const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
    const { port } = echo.address() as AddressInfo
    const { agent, log, dataDir } = await gate.start({
      ...fresh(),
      token: await gate.mint(),
      clock,
      services: `app_service: { enabled: true, apps: [{ name: renewed, uri: 'tcp://127.0.0.1:${port}' }] }`,
    })
    await agent.settled()
    await log.seen('announce.done')
    const generation = (): unknown =>
      (
        JSON.parse(readFileSync(join(dataDir, 'app/identity.json'), 'utf8')) as {
          credentials: { generation: number }
        }
      ).credentials.generation
    const states: string[] = []
    agent.onState((_kind, state) => states.push(state.state))
    expect(generation()).toBe(1)
    ahead = 15 * 3_600_000
    for (const fn of waiting.splice(0)) fn()
    await log.seen('agent.renewed')
    expect(generation()).toBe(2)
    const session = await gate.user('renate', ['access'])
    const { port: local } = await gate.listen(session, 'renewed')
    const socket = connect(local, '127.0.0.1')
    socket.write('hello')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    expect(answer.toString()).toBe('hello')
    expect(states).toEqual([])
    socket.destroy()
    await agent.stop()
    echo.close()
  })
})

describe('the agent itself locked', () => {
  test('its services refuse every stream', async () => {
    const spec = {
      ...fresh(),
      token: await gate.mint(),
      services: `app_service: { enabled: true, apps: [{ name: locked-app, uri: 'tcp://127.0.0.1:1' }] }`,
    }
    const { agent, log } = await gate.start(spec)
    await agent.settled()
    await log.seen('announce.done')
    const ann = await gate.user('ann', ['access'])
    const stream = await ann.open({ kind: 'app', name: 'locked-app' })
    stream.stream.reset()
    await gate.operator.request('POST', '/v1/locks', { target: { agent: agent.agentId } })
    await log.seen('tunnel.lost')
    await expect(ann.open({ kind: 'app', name: 'locked-app' })).rejects.toMatchObject({
      code: expect.stringMatching(
        /ERR_(RESOURCE_OFFLINE|ACCESS_DENIED|LOCKED|NOT_FOUND)/,
      ) as string,
    })
    await agent.stop()
  })
})

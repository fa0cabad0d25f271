/** Agents that were off for a whole rotation of the host CA, and come back to a cluster that believes nothing they hold. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseAgentConfig } from '../../../agent/config.ts'
import { startAgent, type RunningAgent } from '../../../agent/main.ts'
import { fakeSts, type FakeSts } from '../../fakes/sts.ts'
import { handClock } from '../../support/clock.ts'
import { leaping, type Leaping } from '../../support/leaping.ts'
import { recordingLog, type RecordingLog } from '../../support/recording-log.ts'
import { openGate, type AgentSpec, type Gate } from '../agent/gate.ts'
import { echoServer, openStream } from './echo.ts'

const MINUTE = 60_000
// Node's own TLS looks at the machine's clock: the certificates hold at this moment as well.
const clock = handClock(Date.now() - 60 * MINUTE)
const ARN = 'arn:aws:iam::123456789012:user/fleet'
const env = {
  AWS_ACCESS_KEY_ID: 'AKIAEXAMPLEUSEROFCI0',
  AWS_SECRET_ACCESS_KEY: 'the-secret-of-fleet',
  AWS_REGION: 'eu-west-1',
}
let time: Leaping
let gate: Gate
let sts: FakeSts

beforeAll(async () => {
  time = leaping(clock)
  sts = await fakeSts(clock)
  sts.principals.set(env.AWS_ACCESS_KEY_ID, {
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    account: '123456789012',
    arn: ARN,
  })
  gate = await time.during(openGate({ clock, aws: { sts: sts.at, iidKeys: [] } }))
})
afterAll(async () => {
  await time.during(gate.close())
  await sts.close()
  time.stop()
})

/** The same machine at another time: its files as they were, and nothing else. */
async function boot(yaml: string): Promise<{ agent: RunningAgent; log: RecordingLog }> {
  const config = parseAgentConfig(yaml, { hostname: 'test-host' })
  const log = recordingLog()
  const agent = await startAgent({
    config,
    log,
    env: { PATH: process.env['PATH'], ...env },
    clock,
  })
  await time.during(agent.settled())
  return { agent, log }
}
/** Joins, and is switched off. */
async function joined(spec: AgentSpec): Promise<{ yaml: string; id: string | undefined }> {
  const { agent, yaml } = await time.during(
    gate.start({ ...spec, dataDir: join(gate.dir, spec.nodename ?? ''), env }),
  )
  await time.during(agent.settled())
  expect(agent.services.get('app')?.state).toBe('online')
  const id = agent.agentId
  await time.during(agent.stop())
  return { yaml, id }
}

test('who can prove itself without us joins again by itself; who cannot says exactly what to do', async () => {
  await time.during(
    gate.operator.request('POST', '/v1/tokens', {
      kind: 'token',
      version: 'v2',
      metadata: { name: 'fleet' },
      spec: { roles: ['App'], join_method: 'iam', allow: [{ aws_arn: ARN }] },
    }),
  )
  const iam = await joined({
    nodename: 'by-iam',
    joinParams: '{ method: iam, token_name: fleet }',
  })
  const token = await time.during(gate.mint())
  const secret = await joined({ nodename: 'by-secret', token })

  const [before] = gate.cluster.plane.caPins
  await time.during(gate.operator.request('POST', '/v1/cas/host/rotate', { grace: '20m' }))
  await time.pass(40 * MINUTE)
  expect(gate.cluster.plane.caPins).not.toContain(before)

  // Its configuration still pins the CA that is gone: what the policy key signed leads to the new one.
  const back = await boot(iam.yaml)
  expect(back.agent.services.get('app')?.state).toBe('online')
  expect(back.agent.agentId).toBe(iam.id)
  const reason = 'is of a CA that was rotated out while this machine was away'
  expect(back.log.entries).toContainEqual(
    expect.objectContaining({
      event: 'agent.identity_over',
      fields: expect.objectContaining({ reason }) as object,
    }),
  )
  await time.during(back.agent.stop())

  const stuck = await boot(secret.yaml)
  expect(stuck.agent.services.get('app')).toMatchObject({
    state: 'failed',
    error: {
      message: `the identity of service app ${reason}, and the token at hand does not let it join again: set auth_token to a fresh one (postern tokens add) and restart the agent; its id and data_dir stay`,
    },
  })
  await time.during(stuck.agent.stop())

  // And that is all there is to do.
  const fresh = await time.during(gate.mint())
  const mended = await boot(secret.yaml.replace(token, fresh))
  expect(mended.agent.services.get('app')?.state).toBe('online')
  expect(mended.agent.agentId).toBe(secret.id)
  await time.during(mended.agent.stop())
})

test('a user whose route is from before the CA was cut over follows to the agent that joined again', async () => {
  const echo = await echoServer()
  const token = await time.during(gate.mint({ max_uses: null }))
  const { agent, log } = await time.during(
    gate.start({
      token,
      nodename: 'cut',
      dataDir: join(gate.dir, 'cut'),
      services: `app_service: { enabled: true, apps: [{ name: echo, uri: "tcp://127.0.0.1:${echo.port}" }] }`,
    }),
  )
  await time.during(agent.settled())
  const session = await time.during(gate.user('ann', ['access']))
  const { port } = await time.during(gate.listen(session, 'echo'))
  const before = await openStream(port, time)

  await time.during(gate.operator.request('POST', '/v1/cas/host/rotate', { grace: '0s' }))
  await time.pass(MINUTE)
  expect(log.entries.filter(({ event }) => event === 'agent.joined')).toHaveLength(2)
  await (await openStream(port, time)).beat()
  // Cutting over ends nothing that is open.
  await before.beat()
  echo.close()
})

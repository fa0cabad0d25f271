// What goes wrong on an agent's machine: the agent says what it is, stays, and goes on when it is put right.
import { rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseAgentConfig } from '../../../agent/config.ts'
import { startAgent } from '../../../agent/main.ts'
import type { ServiceState } from '../../../agent/service-state.ts'
import { plus, systemClock } from '../../../core/clock.ts'
import { handClock } from '../../support/clock.ts'
import { recordingLog } from '../../support/recording-log.ts'
import { openGate, type Gate } from './gate.ts'

let gate: Gate
let echo: Server
let services: (name: string) => string

beforeAll(async () => {
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
  const { port } = echo.address() as AddressInfo
  services = (name) =>
    `app_service: { enabled: true, apps: [{ name: ${name}, uri: tcp://127.0.0.1:${port} }] }`
  gate = await openGate()
})
afterAll(async () => {
  echo.close()
  await gate.close()
})

async function reached(app: string): Promise<string> {
  const session = await gate.user('ann', ['access'])
  const { port } = await gate.listen(session, app)
  const socket = connect(port, '127.0.0.1')
  const back = new Promise<string>((resolve, reject) => {
    socket.once('data', (bytes: Buffer) => resolve(bytes.toString()))
    socket.once('close', () => reject(new Error('cut')))
  })
  socket.write('there and back')
  return back.finally(() => socket.destroy())
}

test.each([
  ['ahead', 600_000],
  ['behind', -600_000],
])(
  'a clock ten minutes %s: it joins, serves, and knows by how much it is off',
  async (word, ms) => {
    const name = `clock-${word}`
    const { agent } = await gate.start({
      token: await gate.mint(),
      nodename: name,
      dataDir: join(gate.dir, name),
      services: services(name),
      clock: { ...systemClock, now: () => plus(systemClock.now(), ms) },
    })
    await agent.settled()
    expect(agent.services.get('app')?.state).toBe('online')
    expect(await reached(name)).toBe('there and back')
    await agent.stop()
  },
)

test('a name that does not resolve: it says which, and keeps trying', async () => {
  const text = gate
    .yaml({ token: await gate.mint(), dataDir: join(gate.dir, 'dns'), nodename: 'dns-1' })
    .replace(/proxy_server: .*/, 'proxy_server: access.invalid:443')
  const agent = await startAgent({
    config: parseAgentConfig(text, { hostname: 'test-host' }),
    log: recordingLog(),
    env: {},
  })
  const said = await new Promise<ServiceState>((resolve) => {
    agent.onState((_kind, state) => {
      if ('error' in state && state.error) resolve(state)
    })
  })
  expect(said.state).toBe('joining')
  expect('error' in said && said.error?.code).toBe('ERR_UNREACHABLE')
  expect('error' in said && said.error?.message).toMatch(/access\.invalid/)
  await agent.stop()
})

test('a token file that is missing is named and waited for: when it is there, the same start joins', async () => {
  const file = join(gate.dir, 'late-token')
  const spec = {
    token: file,
    nodename: 'token-1',
    dataDir: join(gate.dir, 'late'),
    services: services('late'),
  }
  const { agent, log } = await gate.start(spec)
  expect((await log.seen('agent.token_awaited')).fields).toMatchObject({
    message: `the token file ${file} does not exist`,
  })
  expect((await log.seen('join.retry')).fields).toMatchObject({ code: 'ERR_TOKEN_AWAITED' })
  const state = agent.services.get('app')
  expect(state).toMatchObject({ state: 'joining', error: { code: 'ERR_TOKEN_AWAITED' } })
  // As a program writes it that makes the file first.
  await writeFile(file, '', { mode: 0o600 })
  await writeFile(file, await gate.mint())
  await agent.settled()
  expect(agent.services.get('app')?.state).toBe('online')
  await agent.stop()
  // With an identity the token is not read again.
  await rm(file)
  const again = await gate.start(spec)
  await again.agent.settled()
  expect(again.agent.services.get('app')?.state).toBe('online')
  await again.agent.stop()
})

test('a token file that never comes: after ten minutes the service fails, and says why', async () => {
  const clock = handClock()
  const file = join(gate.dir, 'never')
  const { agent, log } = await gate.start({
    ...{ token: file, nodename: 'token-2', dataDir: join(gate.dir, 'never-1'), clock },
    services: services('never'),
  })
  const retries = (): number => log.entries.filter((e) => e.event === 'join.retry').length
  const failed = log.seen('service.failed').then(() => true)
  for (let looked = 1; ; looked++) {
    const more = log.seen('join.retry', () => retries() >= looked).then(() => false)
    if (await Promise.race([failed, more])) break
    expect(
      log.entries.findLast((e) => e.event === 'join.retry')?.fields['retry_in_ms'],
    ).toBeLessThanOrEqual(5_000)
    // The pause begins in the turn after it was told.
    await new Promise((resolve) => void setImmediate(resolve))
    clock.advance(5_000)
  }
  expect(clock.monotonic()).toBeGreaterThanOrEqual(600_000)
  expect(clock.monotonic()).toBeLessThan(660_000)
  expect(agent.services.get('app')).toMatchObject({
    state: 'failed',
    error: { code: 'ERR_TOKEN_AWAITED', message: `the token file ${file} does not exist` },
  })
  await agent.stop()
})

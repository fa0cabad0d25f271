/** Labels of a token, from the certificate to the decision: real agents, a real user, the agent's own verdict. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { secretCreated } from '../../../core/api/documents.ts'
import { openGate, type Gate } from '../agent/gate.ts'

let gate: Gate
let target: Server
let n = 0
beforeAll(async () => {
  gate = await openGate()
  target = createServer((socket) => socket.end('here I am')).listen(0, '127.0.0.1')
  await once(target, 'listening')
  await gate.operator.request('PUT', '/v1/roles/production', {
    kind: 'role',
    version: 'v7',
    metadata: { name: 'production' },
    spec: { allow: { app_labels: { env: 'prod', team: 'web' } } },
  })
})
afterAll(async () => {
  await gate.close()
  target.close()
})

/** An app whose file says `own`, of an agent that a token with these labels admitted. */
async function serve(app: string, own: string, spec: object): Promise<void> {
  const minted = await gate.operator.request('POST', '/v1/tokens', {
    kind: 'token',
    version: 'v2',
    metadata: { name: app },
    spec: { roles: ['App'], ...spec },
  })
  const { port } = target.address() as AddressInfo
  const { agent, log } = await gate.start({
    token: secretCreated.parse(minted).secret,
    nodename: app,
    dataDir: join(gate.dir, app),
    services: `app_service: { enabled: true, apps: [{ name: ${app}, uri: 'tcp://127.0.0.1:${port}', labels: ${own} }] }`,
  })
  await agent.settled()
  await log.seen('announce.done')
}

/** What a user of the role hears from the app: its text, or nothing. */
async function hear(app: string): Promise<string> {
  const session = await gate.user(`user-${++n}`, ['production'])
  const { port } = await gate.listen(session, app)
  const socket = connect(port, '127.0.0.1')
  let heard = ''
  socket.on('data', (part: Buffer) => (heard += part.toString()))
  socket.on('error', () => undefined)
  await once(socket, 'close')
  return heard
}

const listed = async (app: string): Promise<object | undefined> => {
  const { items } = (await gate.operator.request('GET', '/v1/apps')) as {
    items: { metadata: { name: string; labels: object } }[]
  }
  return items.find(({ metadata }) => metadata.name === app)?.metadata.labels
}

test('forced ones are stronger than the file, suggested ones count where it is silent', async () => {
  const spec = {
    forced_labels: { env: 'prod' },
    suggested_labels: { team: ['web'], zone: ['a', 'b'], tier: ['1', '2'] },
  }
  await serve('shop', '{ env: dev, zone: c }', spec)
  expect(await listed('shop')).toEqual({
    env: 'prod',
    team: 'web',
    zone: 'c',
    tier: '1 2',
  })
  expect(await hear('shop')).toBe('here I am')
})

test('a machine cannot label itself into the reach of a role', async () => {
  await serve('trap', '{ env: prod, team: web }', { forced_labels: { env: 'dev' } })
  expect(await listed('trap')).toEqual({ env: 'dev', team: 'web' })
  expect(await hear('trap').catch(() => '')).toBe('')
})

test('nor out of it by a suggestion that its own file contradicts', async () => {
  await serve('quiet', '{ env: prod, team: db }', { suggested_labels: { team: ['web'] } })
  expect(await listed('quiet')).toEqual({ env: 'prod', team: 'db' })
})

test('labels that would not fit into a certificate are refused when the token is made', async () => {
  const forced_labels = Object.fromEntries(
    Array.from({ length: 10 }, (_, i) => [`label-${i}`, 'x'.repeat(250)]),
  )
  const made = gate.operator.request('POST', '/v1/tokens', {
    kind: 'token',
    version: 'v2',
    metadata: { name: 'too-many' },
    spec: { roles: ['App'], forced_labels },
  })
  await expect(made).rejects.toMatchObject({ code: 'ERR_INPUT_INVALID' })
})

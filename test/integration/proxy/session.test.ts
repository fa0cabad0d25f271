// The user's side: one tunnel for everything, dialled again when it broke; routes kept while they are good for something.
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { loadProfile, saveProfile, type StoredProfile } from '../../../cli/connect/profile.ts'
import { openProxySession, type ProxySession } from '../../../cli/connect/session.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import { toPem } from '../../../core/certs/x509-read.ts'
import { instant, plus, seconds, systemClock } from '../../../core/clock.ts'
import type { AgentId } from '../../../core/ids.ts'
import { decodeOpen } from '../../../core/tunnel/open.ts'
import { failure } from '../../support/pki.ts'
import { madeProfile } from '../../support/profile.ts'
import { proxyWorld, type World } from '../../support/proxy-world.ts'
import { collect } from '../../support/streams.ts'

const NODE = { kind: 'node', name: 'web-1' } as const
let world: World
let dir: string
beforeEach(async () => {
  world = await proxyWorld({ clock: systemClock })
  dir = mkdtempSync(join(tmpdir(), 'postern-session-'))
})
afterEach(async () => {
  await world.close()
  rmSync(dir, { recursive: true, force: true })
})

async function profile(expires = plus(systemClock.now(), 3_600_000)): Promise<StoredProfile> {
  const made = await madeProfile({
    userCa: world.userCa,
    hostCas: [toPem(world.hostCa.certificate.raw), world.tlsCa],
    policyKey: world.policyCa.publicKey,
    address: world.address,
    expires,
  })
  return saveProfile(join(dir, 'profile'), made)
}
async function session(given?: StoredProfile): Promise<ProxySession> {
  const made = openProxySession({ profile: given ?? (await profile()) })
  onTestFinished(() => made.close())
  return made
}
async function agent(id = world.agentId()): Promise<AgentId> {
  await world.dial({
    leaf: await world.agentLeaf(id),
    onOpen(stream, payload) {
      stream.accept()
      if (decodeOpen(payload).kind === 'policy') void collect(stream).then(() => stream.end())
    },
  })
  return id
}
let asked = 0
function routesTo(id: AgentId): void {
  asked = 0
  world.answerRoutes = async () => {
    asked += 1
    return { route: await world.route([id]), proxies: [world.address] }
  }
}
const keep = async (route: string): Promise<void> => {
  await mkdir(join(dir, 'profile', 'routes'), { recursive: true, mode: 0o700 })
  const file = join(dir, 'profile', 'routes', 'node-web-1.json')
  await writeFile(file, JSON.stringify({ route, proxies: [] }))
}

test('many streams share one tunnel and one route', async () => {
  routesTo(await agent())
  const user = await session()
  await user.open(NODE)
  await Promise.all([1, 2, 3, 4, 5].map(() => user.open(NODE)))
  expect(world.proxy.stats()).toMatchObject({ userTunnels: 1, streamsRelayed: 6 })
  expect(asked).toBe(1)
  expect(await readdir(join(dir, 'profile', 'routes'))).toEqual(['node-web-1.json'])
})

test('streams asked for at once before there is a tunnel dial once', async () => {
  routesTo(await agent())
  const user = await session()
  await Promise.all([1, 2, 3].map(() => user.open(NODE)))
  expect(world.proxy.stats().tunnelsOpened).toBe(2)
})

test('after a broken connection the next stream dials again by itself', async () => {
  const id = await agent()
  routesTo(id)
  const user = await session()
  const { stream } = await user.open(NODE)
  const broken = new Promise((resolve) => (stream.onclose = resolve))
  stream.start()
  world.cutAll()
  expect(await broken).toMatchObject({ code: 'ERR_TUNNEL_CLOSED' })
  await agent(id)
  expect((await user.open(NODE)).stream.state).toBe('open')
})

test('a kept route is used without asking', async () => {
  const id = await agent()
  const made = await profile()
  await keep(await world.route([id]))
  await (await session(made)).open(NODE)
})

test('a kept route whose agent is gone is replaced by a new one, once', async () => {
  const id = await agent()
  const made = await profile()
  await keep(await world.route([world.agentId()]))
  routesTo(id)
  await (await session(made)).open(NODE)
  expect(asked).toBe(1)
})

// Attack: somebody who can write into the cache, or answer for the API, sends the user to another agent.
test.each<[string, () => Promise<string>]>([
  [
    'signed by another key',
    () =>
      jwsSign(
        keySigner(generateKey().privateKey),
        { typ: 'postern-route+jws' },
        {
          aud: 'demo.postern',
          resource: NODE,
          service: 'ssh',
          agents: [world.agentId()],
          iat: seconds(systemClock.now()),
          exp: seconds(systemClock.now()) + 300,
        },
      ),
  ],
  [
    'of another resource',
    () => world.route([world.agentId()], { resource: { kind: 'node', name: 'other' } }),
  ],
  ['expired', () => world.route([world.agentId()], { iat: 1000, exp: 1300 })],
  ['not a route', async () => 'x'],
])('a kept route that is %s is as good as none', async (_, make) => {
  const made = await profile()
  await keep(await make())
  routesTo(await agent())
  await (await session(made)).open(NODE)
  expect(asked).toBe(1)
})

test('a route of the API that the policy keys did not sign is refused', async () => {
  world.answerRoutes = async () => ({ route: 'a.b.c', proxies: [] })
  const user = await session()
  expect((await failure(() => user.open(NODE)))?.code).toBe('ERR_ROUTE_INVALID')
})

test('a proxy that is away is said to be, after a few tries', async () => {
  const made = await profile()
  const away = await saveProfile(made.dir, { ...made, proxies: ['127.0.0.1:1'] })
  routesTo(world.agentId())
  const user = await session(away)
  expect((await failure(() => user.open(NODE)))?.code).toBe('ERR_UNREACHABLE')
})

test('expired certificates are looked up on disk again, and said to be expired if they still are', async () => {
  const old = await profile(instant(systemClock.now() - 1))
  const user = await session(old)
  expect((await failure(() => user.open(NODE)))?.code).toBe('ERR_PROFILE_MISSING')
  routesTo(await agent())
  await saveProfile(old.dir, { ...old, expires: plus(systemClock.now(), 3_600_000) })
  await user.open(NODE)
  expect(user.profile.expires).toBeGreaterThan(systemClock.now())
  expect((await loadProfile(old.dir)).expires).toBe(user.profile.expires)
})

test('a closed session opens nothing', async () => {
  const user = await session()
  user.close()
  expect((await failure(() => user.open(NODE)))?.code).toBe('ERR_TUNNEL_CLOSED')
})

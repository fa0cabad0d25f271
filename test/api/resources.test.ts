/** Tokens, roles, users, locks, nodes, apps and agents as operators and users see them. */
import { afterAll, describe, expect, test } from 'vitest'
import { roleDocument, tokenDocument, userDocument } from '../../core/api/documents.ts'
import { newId, type AgentId, type ConnId, type ProxyId } from '../../core/ids.ts'
import { plus } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import { routeAnswer, ROUTE_TYP } from '../../core/api/route.ts'
import { jwsVerify } from '../../core/certs/jws.ts'
import { createPublicKey } from 'node:crypto'
import { joined, mint, type Joined } from './support/machine.ts'
import { codeOf, cursorOf, itemsOf, openWorld, pathsOf, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())

const names = (items: { metadata: { name: string } }[]): string[] =>
  items.map((item) => item.metadata.name).sort()

async function all(path: string, limit: number): Promise<string[]> {
  const found: { metadata: { name: string } }[] = []
  let cursor: string | undefined
  do {
    const at = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const page = await world.op(
      'GET',
      `${path}${path.includes('?') ? '&' : '?'}limit=${limit}${at}`,
    )
    found.push(...itemsOf(page))
    cursor = cursorOf(page)
  } while (cursor !== undefined)
  return names(found)
}

describe('tokens', () => {
  test('short form: secret once, one use and 30 minutes by default', async () => {
    const answer = await world.op('POST', '/v1/tokens', { roles: ['node', 'app'] })
    expect(answer.status).toBe(201)
    expect(answer.body).toMatchObject({
      roles: ['Node', 'App'],
      join_method: 'token',
      max_uses: 1,
      ca_pins: world.plane.caPins,
    })
    const { name, secret, expires } = answer.body as Record<string, string>
    expect(secret).toMatch(/^pst_join_[A-Za-z0-9_-]{43}$/)
    expect(Math.round((Date.parse(expires ?? '') - world.clock.now()) / 60_000)).toBe(30)
    expect(answer.headers.get('location')).toBe(`/v1/tokens/${name}`)
    const read = await world.op('GET', `/v1/tokens/${name}`)
    expect(tokenDocument.parse(read.body).status).toMatchObject({ state: 'active', uses: 0 })
    expect(read.text).not.toContain(secret)
    expect((await world.op('GET', '/v1/tokens')).text).not.toContain(secret)
  })
  test('full form keeps every field', async () => {
    const file = {
      kind: 'token',
      version: 'v2',
      metadata: {
        name: 'web-fleet',
        expires: '2027-01-01T00:00:00.000Z',
        labels: { team: 'sre' },
        description: 'fleet',
      },
      spec: {
        roles: ['Node'],
        join_method: 'token',
        max_uses: null,
        suggested_labels: { env: ['prod'] },
        forced_labels: { zone: 'a' },
        allowed_names: ['web-1', 'web-2'],
        shared_names: true,
      },
    }
    expect((await world.op('POST', '/v1/tokens', file)).status).toBe(201)
    const read = await world.op('GET', '/v1/tokens/web-fleet')
    expect(read.body).toMatchObject(file)
  })
  test('a name that is held is a conflict', async () => {
    const again = await world.op('POST', '/v1/tokens', { name: 'web-fleet', roles: ['Node'] })
    expect(codeOf(again)).toBe('ERR_CONFLICT')
  })
  test('revoking removes it at once, twice is 404', async () => {
    await world.op('POST', '/v1/tokens', { name: 'short-lived', roles: ['Node'] })
    expect((await world.op('DELETE', '/v1/tokens/short-lived')).status).toBe(204)
    expect(codeOf(await world.op('GET', '/v1/tokens/short-lived'))).toBe('ERR_NOT_FOUND')
    expect(codeOf(await world.op('DELETE', '/v1/tokens/short-lived'))).toBe('ERR_NOT_FOUND')
  })
  test('lists page by page, every token once, filtered by label and text', async () => {
    for (let i = 0; i < 7; i++) {
      const labels = { wave: i % 2 === 0 ? 'even' : 'odd' }
      await world.op('POST', '/v1/tokens', { name: `wave-${i}`, roles: ['Node'], labels })
    }
    const everything = await all('/v1/tokens', 500)
    expect(await all('/v1/tokens', 2)).toEqual(everything)
    expect(await all('/v1/tokens?labels=wave=odd', 2)).toEqual(['wave-1', 'wave-3', 'wave-5'])
    expect(await all('/v1/tokens?search=WAVE-4', 3)).toEqual(['wave-4'])
  })
})

describe('roles and users', () => {
  const role = (name: string, spec: object = {}) => ({
    kind: 'role',
    version: 'v7',
    metadata: { name },
    spec,
  })
  const user = (name: string, roles: string[]) => ({
    kind: 'user',
    version: 'v2',
    metadata: { name },
    spec: { roles, traits: { logins: [name] } },
  })
  test('the roles of a new cluster are there', async () => {
    expect(await all('/v1/roles', 2)).toEqual(
      expect.arrayContaining(['access', 'auditor', 'editor']),
    )
  })
  test('apply is idempotent: 201, then 200, and only changes are in the audit log', async () => {
    const file = role('ops', {
      allow: { logins: ['root'], node_labels: { env: ['prod', 'dev-*'] }, rules: [] },
      deny: { app_labels: { secret: 'yes' } },
      options: { max_session_ttl: '8h', forward_agent: true, max_sessions: 4, lock: 'strict' },
    })
    const created = await world.op('PUT', '/v1/roles/ops', file)
    const repeated = await world.op('PUT', '/v1/roles/ops', file)
    expect([created.status, repeated.status]).toEqual([201, 200])
    expect(itemsOf(await world.op('GET', '/v1/events?resource=role/ops'))).toHaveLength(1)
    // What is read is a file that makes the same role.
    const read = roleDocument.parse((await world.op('GET', '/v1/roles/ops')).body)
    expect((await world.op('PUT', '/v1/roles/ops', read)).status).toBe(200)
    expect(itemsOf(await world.op('GET', '/v1/events?resource=role/ops'))).toHaveLength(1)
  })
  test('each change bumps the policy version, and nothing else does', async () => {
    const version = () => world.plane.stores.policy.version()
    const before = await version()
    await world.op('PUT', '/v1/roles/ops', role('ops'))
    await world.op('PUT', '/v1/users/ops', user('ops', ['ops']))
    expect(await version()).toBe(before + 2)
    await world.op('PUT', '/v1/users/ops', user('ops', ['ops']))
    await mint(world)
    expect(await version()).toBe(before + 2)
  })
  test('a role that somebody holds is not removed', async () => {
    const answer = await world.op('DELETE', '/v1/roles/ops')
    expect(codeOf(answer)).toBe('ERR_CONFLICT')
    expect((answer.body as { detail: string }).detail).toMatch(/ops/)
    await world.op('DELETE', '/v1/users/ops')
    expect((await world.op('DELETE', '/v1/roles/ops')).status).toBe(204)
  })
  test('a user is read without secrets and removed once', async () => {
    const file = { ...user('pat', ['access']) }
    await world.op('PUT', '/v1/users/pat', {
      ...file,
      spec: { ...file.spec, password: 'long enough it is' },
    })
    const read = userDocument.parse((await world.op('GET', '/v1/users/pat')).body)
    expect(read.spec).toEqual({ roles: ['access'], traits: { logins: ['pat'] } })
    expect((await world.op('DELETE', '/v1/users/pat')).status).toBe(204)
    expect((await world.op('DELETE', '/v1/users/pat')).status).toBe(404)
  })
  test('a refused password leaves the user as it was', async () => {
    const file = user('quin', ['access'])
    const answer = await world.op('PUT', '/v1/users/quin', {
      ...file,
      spec: { ...file.spec, password: 'short' },
    })
    expect(pathsOf(answer)).toEqual(['spec.password'])
    expect((await world.op('GET', '/v1/users/quin')).status).toBe(404)
  })
})

describe('locks', () => {
  test('have an id made by the server, a reason and an end, and are removed', async () => {
    const made = await world.op('POST', '/v1/locks', {
      kind: 'lock',
      version: 'v2',
      spec: { target: { user: 'mallory' }, ttl: '1h', message: 'lost laptop' },
    })
    const { metadata } = made.body as { metadata: { name: string } }
    expect(made.status).toBe(201)
    expect((await world.op('GET', `/v1/locks/${metadata.name}`)).body).toMatchObject({
      spec: { target: { user: 'mallory' }, message: 'lost laptop' },
      status: { created_by: 'key/operator-root-owner' },
    })
    world.later(3_601_000)
    expect((await world.op('GET', `/v1/locks/${metadata.name}`)).status).toBe(404)
  })
  test('are never edited, but putting the same one again is harmless', async () => {
    const id = newId('lock', world.clock.now(), systemRandom)
    const lock = { kind: 'lock', version: 'v2', spec: { target: { user: 'mallory' } } }
    expect((await world.op('PUT', `/v1/locks/${id}`, lock)).status).toBe(201)
    expect((await world.op('PUT', `/v1/locks/${id}`, lock)).status).toBe(200)
    const other = { ...lock, spec: { target: { user: 'trudy' } } }
    expect(codeOf(await world.op('PUT', `/v1/locks/${id}`, other))).toBe('ERR_CONFLICT')
    expect((await world.op('DELETE', `/v1/locks/${id}`)).status).toBe(204)
    expect((await world.op('DELETE', `/v1/locks/${id}`)).status).toBe(404)
  })
})

describe('what agents serve', async () => {
  const announce = (agent: Joined, resources: object[]) =>
    world.as(agent, 'POST', '/v1/agents/self/resources', { resources })
  const node = (name: string, labels: object) => ({ kind: 'node', name, labels, hostname: name })
  const app = (name: string, labels: object) => ({ kind: 'app', name, labels, protocol: 'http' })
  const proxyId: ProxyId = newId('proxy', world.clock.now(), systemRandom)
  const connId: ConnId = newId('conn', world.clock.now(), systemRandom)
  const lease = () =>
    world.plane.stores.presence.renewLease({
      proxyId,
      bootId: 'boot-1',
      address: 'gate.test:443',
      tunnels: 1,
      expires: plus(world.clock.now(), 20_000),
    })
  const connect = async (agent: Joined): Promise<void> => {
    await lease()
    await world.plane.stores.presence.putTunnel({
      agentId: agent.agentId as AgentId,
      service: 'ssh',
      proxyId,
      bootId: 'boot-1',
      connId,
      opened: world.clock.now(),
    })
  }
  const enrolled = await joined(world, { secret: await mint(world), node: 'prod-1' })
  const second = await joined(world, { secret: await mint(world), node: 'dev-1' })
  const apps = await joined(world, { secret: await mint(world), node: 'apps-1', service: 'app' })
  await announce(enrolled, [node('prod-1', { env: 'prod' })])
  await announce(second, [node('dev-1', { env: 'dev' })])
  await announce(apps, [app('grafana', { team: 'sre' })])
  await world.op('PUT', '/v1/roles/devs', {
    kind: 'role',
    version: 'v7',
    metadata: { name: 'devs' },
    spec: { allow: { logins: ['dev'], node_labels: { env: 'dev' } } },
  })
  const everyone = await world.user('wide', ['access'])
  const dev = await world.user('dev', ['devs'])

  test('operators see all of it, users what they may reach', async () => {
    expect(await all('/v1/nodes', 1)).toEqual(['dev-1', 'prod-1'])
    const seen = async (who: typeof dev, path: string) =>
      names(itemsOf(await world.as(who, 'GET', path)))
    expect(await seen(everyone, '/v1/nodes')).toEqual(['dev-1', 'prod-1'])
    expect(await seen(dev, '/v1/nodes')).toEqual(['dev-1'])
    expect(await seen(dev, '/v1/apps')).toEqual([])
    expect(await seen(everyone, '/v1/apps')).toEqual(['grafana'])
    expect((await world.as(enrolled, 'GET', '/v1/nodes')).status).toBe(403)
  })
  test('one that a user may not reach looks like one that is missing', async () => {
    const denied = await world.as(dev, 'GET', '/v1/nodes/prod-1')
    expect(denied.status).toBe(404)
    expect((await world.as(dev, 'GET', '/v1/nodes/dev-1')).status).toBe(200)
    const route = (name: string) => world.as(dev, 'POST', '/v1/routes', { kind: 'node', name })
    const known = await route('prod-1')
    const unknown = await route('no-such')
    expect(codeOf(known)).toBe('ERR_NOT_FOUND')
    expect((known.body as { detail: string }).detail).toBe(
      (unknown.body as { detail: string }).detail,
    )
  })
  test('is filtered by labels and text', async () => {
    expect(await all('/v1/nodes?labels=env=prod', 1)).toEqual(['prod-1'])
    expect(await all('/v1/nodes?search=DEV', 1)).toEqual(['dev-1'])
  })
  test('is online only while a tunnel and its proxy live', async () => {
    const status = async () =>
      ((await world.op('GET', '/v1/nodes/prod-1')).body as { status: object }).status
    expect(await status()).toEqual({ online: false })
    await connect(enrolled)
    expect(await status()).toMatchObject({ online: true })
    world.later(21_000)
    expect(await status()).toMatchObject({ online: false, last_seen: expect.any(String) as string })
  })
  test('has a signed route while it is online', async () => {
    await connect(enrolled)
    const answer = await world.as(everyone, 'POST', '/v1/routes', { kind: 'node', name: 'prod-1' })
    const { route, proxies } = routeAnswer.parse(answer.body)
    expect(proxies).toEqual(['gate.test:443'])
    const [jwk] = world.plane.caBundle.policy
    const { payload } = await jwsVerify(route, {
      keys: [createPublicKey({ key: { ...jwk } as never, format: 'jwk' })],
      algorithms: ['ES256'],
      typ: ROUTE_TYP,
      maxBytes: 16_384,
    })
    const now = Math.floor(world.clock.now() / 1000)
    expect(payload).toMatchObject({
      aud: 'test.internal',
      resource: { kind: 'node', name: 'prod-1' },
      service: 'ssh',
      agents: [enrolled.agentId],
    })
    expect((payload as { exp: number }).exp - now).toBeLessThanOrEqual(300)
  })
  test('has no route while it is offline, and the answer says since when', async () => {
    world.later(30_000)
    const answer = await world.as(everyone, 'POST', '/v1/routes', { kind: 'node', name: 'prod-1' })
    expect(answer).toMatchObject({ status: 503, body: { code: 'ERR_RESOURCE_OFFLINE' } })
    expect((answer.body as { detail: string }).detail).toMatch(/last seen 20/)
    const never = await world.as(everyone, 'POST', '/v1/routes', { kind: 'app', name: 'grafana' })
    expect((never.body as { detail: string }).detail).toMatch(/never/)
  })
  test.each([
    ['of another kind', () => announce(enrolled, [app('x', {})]), 'resources.0.kind'],
    ['under another node name', () => announce(enrolled, [node('other', {})]), 'resources.0.name'],
    [
      'twice under one name',
      () => announce(apps, [app('a', {}), app('a', {})]),
      'resources.1.name',
    ],
    [
      'with a wrong label',
      () => announce(apps, [app('a', { 'a b': 'c' })]),
      'resources.0.labels.a b',
    ],
    [
      'with an unknown field',
      () => announce(apps, [{ ...app('a', {}), uri: 'x' }]),
      'resources.0.uri',
    ],
  ])('is not announced %s', async (_, attempt, path) => {
    expect(pathsOf(await attempt())).toContain(path)
    expect(await all('/v1/apps', 10)).toEqual(['grafana'])
  })
  test('is not announced under a name that another agent holds', async () => {
    const thief = await joined(world, { secret: await mint(world), node: 'thief', service: 'app' })
    expect(codeOf(await announce(thief, [app('grafana', {})]))).toBe('ERR_NAME_TAKEN')
  })
  test('announced again unchanged writes nothing', async () => {
    const again = await announce(apps, [app('grafana', { team: 'sre' })])
    expect(again.body).toEqual({ changed: false })
    expect((await announce(apps, [app('grafana', { team: 'dba' })])).body).toEqual({
      changed: true,
    })
  })
  test('carries the labels that the token forces', async () => {
    const minted = await world.op('POST', '/v1/tokens', {
      kind: 'token',
      version: 'v2',
      metadata: {},
      spec: { roles: ['Node'], forced_labels: { env: 'prod' } },
    })
    const { secret } = minted.body as { secret: string }
    const agent = await joined(world, { secret, node: 'forced-1' })
    await announce(agent, [node('forced-1', { env: 'dev', mine: 'yes' })])
    expect((await world.op('GET', '/v1/nodes/forced-1')).body).toMatchObject({
      metadata: { labels: { env: 'prod', mine: 'yes' } },
    })
  })
  test('goes with its agent, whose certificates are worth nothing from then on', async () => {
    expect((await world.op('DELETE', `/v1/agents/${apps.agentId}`)).status).toBe(204)
    expect(await all('/v1/apps', 10)).toEqual([])
    expect(codeOf(await announce(apps, [app('grafana', {})]))).toBe('ERR_LOCKED')
    expect((await world.op('GET', `/v1/agents/${apps.agentId}`)).status).toBe(404)
  })
})

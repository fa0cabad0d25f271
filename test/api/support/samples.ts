/** A valid call for every operation of the API, made so that it may be sent again and again. */
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import { encodeKey } from '../../../core/join/messages.ts'
import { jwksOf, signingKey } from '../../support/id-tokens.ts'
import { challenge, joined, mint, type Joined } from './machine.ts'
import type { Signatory, World } from './world.ts'

export interface Sample {
  /** `post /v1/tokens`, as the OpenAPI document names it. */
  readonly operation: string
  readonly url: string
  readonly body?: unknown
  /** Default: the operator. */
  readonly by?: Signatory | 'anyone'
  /** Of the first call. */
  readonly status: number
}

const file = (kind: string, version: string, name: string, spec: object) => ({
  kind,
  version,
  metadata: { name },
  spec,
})
const publicKey = (): string => encodeKey(generateKey().publicKey)

async function machine(world: World, node: string): Promise<Joined> {
  const agent = await joined(world, { secret: await mint(world), node })
  await world.as(agent, 'POST', '/v1/agents/self/resources', {
    resources: [{ kind: 'node', name: node, labels: {}, hostname: node }],
  })
  return agent
}

/** Requests that are made afresh each time, because they are good once or for a while. */
async function signedSamples(world: World, agent: Joined): Promise<Sample[]> {
  const { signJoin, signRenewal } = await import('../../../core/join/messages.ts')
  const secret = await mint(world)
  const [enrolment, key, next] = [generateKey(), generateKey(), generateKey()]
  const signer = (pair: typeof key) => keySigner(pair.privateKey)
  const sealed = await challenge(world, { secret, enrolment, key, service: 'ssh' })
  const join = await signJoin(
    {
      challenge: sealed,
      method: 'token',
      service: 'ssh',
      enrolment_key: encodeKey(enrolment.publicKey),
      service_key: encodeKey(key.publicKey),
      node_name: 'sampled',
      evidence: { secret },
    },
    { enrolment: signer(enrolment), service: signer(key) },
  )
  const renewal = await signRenewal(
    {
      cluster: world.plane.cluster,
      certificate: agent.certificate.raw.toString('base64url'),
      generation: 1,
      next_key: encodeKey(next.publicKey),
      renewal_id: 'renewal-1',
      time: Math.floor(world.clock.now() / 1000),
    },
    { current: agent.signer, next: signer(next) },
  )
  return [
    { operation: 'post /v1/join', url: '/v1/join', body: join, by: 'anyone', status: 200 },
    { operation: 'post /v1/renew', url: '/v1/renew', body: renewal, by: 'anyone', status: 200 },
  ]
}

export async function samplesFor(world: World): Promise<Sample[]> {
  const agent = await machine(world, 'web-1')
  const spare = await machine(world, 'web-2')
  const leaver = await machine(world, 'web-3')
  const shop = await joined(world, { secret: await mint(world), node: 'shop-1', service: 'app' })
  await world.as(shop, 'POST', '/v1/agents/self/resources', {
    resources: [{ kind: 'app', name: 'shop', labels: { env: 'prod' }, protocol: 'tcp' }],
  })
  const proxy = await world.proxy()
  const ann = await world.user('ann', ['access'], ['ann'])
  const password = 'correct horse battery staple'
  const user = (name: string, more: object = {}) =>
    file('user', 'v2', name, { roles: ['access'], traits: { logins: [name] }, ...more })
  await world.op('PUT', '/v1/users/pat', user('pat', { password }))
  const made = async (path: string, body: object): Promise<string> => {
    const { body: answer } = await world.op('POST', path, body)
    const { name, id, metadata } = answer as {
      name?: string
      id?: string
      metadata?: { name: string }
    }
    return metadata?.name ?? id ?? name ?? ''
  }
  const scopes = [{ resources: ['token'], verbs: ['create'] }]
  const rules = [{ resources: ['token'], verbs: ['create'] }]
  const lock = await made('/v1/locks', { target: { user: 'mallory' } })
  const key = await made('/v1/keys', { name: 'known', scopes })
  await made('/v1/tokens', { name: 'known', roles: ['Node'] })
  const connector = file('oidc_connector', 'v1', 'ci', {
    issuer: 'https://ci.example.com',
    static_jwks: jwksOf(signingKey('ES256')),
    claims_to_roles: [{ claims: { team: 'web' }, roles: ['auditor'] }],
  })
  const event = {
    key: 'event-0001',
    time: world.clock.now(),
    type: 'session.start',
    outcome: 'ok',
    actor: 'ann',
    fields: {},
  }
  const get = (path: string, by?: Sample['by'], url = path): Sample => ({
    operation: `get ${path}`,
    url,
    status: 200,
    ...(by === undefined ? {} : { by }),
  })
  const post = (path: string, body: unknown, more: Partial<Sample> = {}): Sample => ({
    operation: `post ${path}`,
    url: path,
    body,
    status: 200,
    ...more,
  })
  const put = (path: string, url: string, body: unknown, status = 201): Sample => ({
    operation: `put ${path}`,
    url,
    body,
    status,
  })
  const remove = (path: string, url: string): Sample => ({
    operation: `delete ${path}`,
    url,
    status: 204,
  })
  return [
    ...['/.well-known/postern', '/v1/ping', '/v1/ca', '/v1/spiffe/bundle', '/v1/openapi.json'].map(
      (path) => get(path, 'anyone'),
    ),
    get('/.well-known/jwks.json', 'anyone'),
    get('/.well-known/openid-configuration', 'anyone'),
    get('/v1/whoami'),
    ...['tokens', 'keys', 'oidc_connectors', 'roles', 'users', 'locks', 'cas', 'nodes', 'apps'].map(
      (kind) => get(`/v1/${kind}`),
    ),
    get('/v1/agents'),
    get('/v1/events'),
    post('/v1/tokens', { roles: ['Node'], ttl: '30m', max_uses: 1 }, { status: 201 }),
    post(
      '/v1/tokens',
      file('token', 'v2', 'sampled', {
        roles: ['Node', 'App'],
        join_method: 'github',
        github: { allow: [{ repository: 'acme/web', ref: 'refs/heads/main' }] },
        forced_labels: { env: 'prod' },
      }),
      { status: 201 },
    ),
    get('/v1/tokens/{name}', undefined, '/v1/tokens/known'),
    post('/v1/keys', { name: 'sampled', scopes }, { status: 201 }),
    get('/v1/keys/{id}', undefined, `/v1/keys/${key}`),
    put('/v1/oidc_connectors/{name}', '/v1/oidc_connectors/ci', connector),
    get('/v1/oidc_connectors/{name}', undefined, '/v1/oidc_connectors/ci'),
    put(
      '/v1/roles/{name}',
      '/v1/roles/sampled',
      file('role', 'v7', 'sampled', { allow: { logins: ['ann'], rules } }),
    ),
    get('/v1/roles/{name}', undefined, '/v1/roles/access'),
    put('/v1/users/{name}', '/v1/users/sam', user('sam')),
    get('/v1/users/{name}', undefined, '/v1/users/ann'),
    post('/v1/locks', { target: { user: 'mallory' }, ttl: '1h' }, { status: 201 }),
    post(
      '/v1/locks',
      { kind: 'lock', version: 'v2', spec: { target: { role: 'nobody' } } },
      { status: 201 },
    ),
    get('/v1/locks/{name}', undefined, `/v1/locks/${lock}`),
    put('/v1/locks/{name}', `/v1/locks/lk_${'0'.repeat(26)}`, { target: { user: 'mallory' } }),
    get('/v1/nodes/{name}', undefined, '/v1/nodes/web-1'),
    get('/v1/apps/{name}', undefined, '/v1/apps/shop'),
    get('/v1/agents/{id}', undefined, `/v1/agents/${agent.agentId}`),
    post('/v1/cas/{name}/rotate', {}, { url: '/v1/cas/user/rotate' }),
    post('/v1/cas/{name}/rollback', {}, { url: '/v1/cas/user/rollback' }),
    post(
      '/v1/join/challenge',
      {
        method: 'token',
        token: 'x',
        service: 'ssh',
        enrolment_key: publicKey(),
        service_key: publicKey(),
      },
      { by: 'anyone' },
    ),
    ...(await signedSamples(world, agent)),
    post(
      '/v1/agents/self/resources',
      { resources: [{ kind: 'node', name: 'web-1', labels: { env: 'a' }, hostname: 'web-1' }] },
      { by: agent },
    ),
    post('/v1/agents/self/events', { events: [event] }, { by: agent }),
    post('/v1/agents/self/leave', {}, { by: leaver }),
    post(
      '/v1/login/password',
      { user: 'pat', password, public_key: publicKey() },
      { by: 'anyone' },
    ),
    post('/v1/certs', { public_key: publicKey() }, { by: ann }),
    get('/v1/join/key', undefined),
    get('/v1/policy', proxy),
    get('/v1/policy/freshness', proxy),
    post('/v1/routes', { kind: 'node', name: 'web-1' }, { by: ann, status: 503 }),
    remove('/v1/tokens/{name}', '/v1/tokens/known'),
    remove('/v1/keys/{id}', `/v1/keys/${key}`),
    remove('/v1/oidc_connectors/{name}', '/v1/oidc_connectors/ci'),
    remove('/v1/roles/{name}', '/v1/roles/sampled'),
    remove('/v1/users/{name}', '/v1/users/sam'),
    remove('/v1/locks/{name}', `/v1/locks/${lock}`),
    remove('/v1/agents/{id}', `/v1/agents/${spare.agentId}`),
  ]
}

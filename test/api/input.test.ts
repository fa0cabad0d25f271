/** Every field of every input: a wrong value is named, answered with a code, and nothing is half done. */
import { afterAll, describe, expect, test } from 'vitest'
import { generateKey } from '../../core/certs/signer.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { codeOf, itemsOf, openWorld, pathsOf, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())

const KEY = encodeKey(generateKey().publicKey)
const OTHER = encodeKey(generateKey().publicKey)
const long = 'x'.repeat(300)

const TOKEN = {
  kind: 'token',
  version: 'v2',
  metadata: { name: 'corpus' },
  spec: { roles: ['Node'] },
}
const ROLE = { kind: 'role', version: 'v7', metadata: { name: 'corpus' }, spec: {} }
const USER = {
  kind: 'user',
  version: 'v2',
  metadata: { name: 'corpus' },
  spec: { roles: ['access'] },
}
const LOCK = { kind: 'lock', version: 'v2', spec: { target: { user: 'ann' } } }
const CHALLENGE = {
  method: 'token',
  token: 'x',
  service: 'ssh',
  enrolment_key: KEY,
  service_key: OTHER,
}
const LOGIN = { user: 'ann', password: 'a long password', public_key: KEY }

type Row = [call: string, base: object, field: string, wrong: unknown, path?: string]
/** `path` is where the answer points when it is not the field itself. */
const ROWS: Row[] = [
  ['POST /v1/tokens', { roles: ['Node'] }, 'roles', []],
  ['POST /v1/tokens', { roles: ['Node'] }, 'roles', ['Root'], 'roles.0'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'roles', ['Node', 'node']],
  ['POST /v1/tokens', { roles: ['Node'] }, 'roles', ['Node', 'Bot'], 'roles.1'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'roles', ['Bot'], 'roles.0'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'roles', 'Node'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'ttl', 30],
  ['POST /v1/tokens', { roles: ['Node'] }, 'ttl', '0s'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'ttl', '30 minutes'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'ttl', '9999d'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'max_uses', 0],
  ['POST /v1/tokens', { roles: ['Node'] }, 'max_uses', 1.5],
  ['POST /v1/tokens', { roles: ['Node'] }, 'max_uses', 1e9],
  ['POST /v1/tokens', { roles: ['Node'] }, 'max_uses', '1'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'join_method', 'iam'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'name', '../x'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'name', long],
  ['POST /v1/tokens', { roles: ['Node'] }, 'labels', { 'a b': 'c' }, 'labels.a b'],
  ['POST /v1/tokens', { roles: ['Node'] }, 'description', 'x'.repeat(2000)],
  ['POST /v1/tokens', { roles: ['Node'] }, 'secret', 'pst_join_mine'],
  ['POST /v1/tokens', TOKEN, 'version', 'v9'],
  ['POST /v1/tokens', TOKEN, 'kind', 'role'],
  ['POST /v1/tokens', TOKEN, 'metadata.name', 'no spaces'],
  ['POST /v1/tokens', TOKEN, 'metadata.expires', 'tomorrow'],
  ['POST /v1/tokens', TOKEN, 'metadata.expires', '2001-01-01T00:00:00Z'],
  ['POST /v1/tokens', TOKEN, 'metadata.expires', '2999-01-01T00:00:00Z'],
  ['POST /v1/tokens', TOKEN, 'metadata.owner', 'ann'],
  ['POST /v1/tokens', TOKEN, 'spec.roles', ['Root'], 'spec.roles.0'],
  ['POST /v1/tokens', TOKEN, 'spec.roles', ['Bot'], 'spec.roles.0'],
  ['POST /v1/tokens', TOKEN, 'spec.join_method', 'magic'],
  ['POST /v1/tokens', TOKEN, 'spec.aws_iid_ttl', '5m'],
  ['POST /v1/tokens', TOKEN, 'spec.bound_keypair', {}],
  ['POST /v1/tokens', TOKEN, 'spec.max_uses', -1],
  ['POST /v1/tokens', TOKEN, 'spec.allow', []],
  ['POST /v1/tokens', TOKEN, 'spec.bot_name', 'b'],
  ['POST /v1/tokens', TOKEN, 'spec.allowed_names', ['UPPER'], 'spec.allowed_names.0'],
  ['POST /v1/tokens', TOKEN, 'spec.forced_labels', { a: 1 }, 'spec.forced_labels.a'],
  ['POST /v1/tokens', TOKEN, 'spec.shared_names', 'yes'],

  ['PUT /v1/roles/corpus', ROLE, 'version', 'v2'],
  ['PUT /v1/roles/corpus', ROLE, 'metadata.name', 'another'],
  ['PUT /v1/roles/corpus', ROLE, 'spec.allow', { logins: ['*'] }, 'spec.allow.logins.0'],
  ['PUT /v1/roles/corpus', ROLE, 'spec.allow', { logins: ['{{x}}'] }, 'spec.allow.logins.0'],
  ['PUT /v1/roles/corpus', ROLE, 'spec.allow', { node_labels: 'a' }, 'spec.allow.node_labels'],
  ['PUT /v1/roles/corpus', ROLE, 'spec.allow', { db_names: ['x'] }, 'spec.allow.db_names'],
  [
    'PUT /v1/roles/corpus',
    ROLE,
    'spec.allow',
    { rules: [{ resources: ['x'], verbs: ['*'] }] },
    'spec.allow.rules.0.resources.0',
  ],
  [
    'PUT /v1/roles/corpus',
    ROLE,
    'spec.options',
    { max_session_ttl: 5 },
    'spec.options.max_session_ttl',
  ],
  [
    'PUT /v1/roles/corpus',
    ROLE,
    'spec.options',
    { record_session: {} },
    'spec.options.record_session',
  ],
  ['PUT /v1/roles/corpus', ROLE, 'spec.options', { max_sessions: 0 }, 'spec.options.max_sessions'],
  ['PUT /v1/roles/corpus', ROLE, 'spec.options', { lock: 'maybe' }, 'spec.options.lock'],

  ['PUT /v1/users/corpus', USER, 'metadata.name', 'another'],
  ['PUT /v1/users/corpus', USER, 'spec.roles', []],
  ['PUT /v1/users/corpus', USER, 'spec.roles', ['access', 'no-such'], 'spec.roles.1'],
  ['PUT /v1/users/corpus', USER, 'spec.traits', { logins: 'root' }, 'spec.traits.logins'],
  ['PUT /v1/users/corpus', USER, 'spec.password', 'short'],
  ['PUT /v1/users/corpus', USER, 'spec.password', 'x'.repeat(2000)],
  ['PUT /v1/users/corpus', USER, 'spec.password_hash', 'x'],

  ['POST /v1/locks', LOCK, 'spec.target', {}],
  ['POST /v1/locks', LOCK, 'spec.target', { user: 'a', role: 'b' }],
  ['POST /v1/locks', LOCK, 'spec.target', { agent: 'web-1' }, 'spec.target.agent'],
  ['POST /v1/locks', LOCK, 'spec.ttl', '0s'],
  ['POST /v1/locks', LOCK, 'spec.ttl', 1],
  ['POST /v1/locks', LOCK, 'spec.expires', '2001-01-01T00:00:00Z'],
  ['POST /v1/locks', LOCK, 'spec.message', 'x'.repeat(600)],
  ['POST /v1/locks', LOCK, 'metadata', { name: 'mine' }, 'metadata.name'],
  ['POST /v1/locks', { target: { user: 'ann' } }, 'until', 'x'],

  ['POST /v1/join/challenge', CHALLENGE, 'method', 'magic'],
  ['POST /v1/join/challenge', CHALLENGE, 'token', ''],
  ['POST /v1/join/challenge', CHALLENGE, 'token', long],
  ['POST /v1/join/challenge', CHALLENGE, 'service', 'shell'],
  ['POST /v1/join/challenge', CHALLENGE, 'enrolment_key', 'AAAA'],
  ['POST /v1/join/challenge', CHALLENGE, 'enrolment_key', `${KEY}=`],
  ['POST /v1/join/challenge', CHALLENGE, 'service_key', KEY],
  ['POST /v1/join/challenge', CHALLENGE, 'extra', 1],
  [
    'POST /v1/join',
    { payload: 'AAAA', signatures: { enrolment: 'A', service: 'A' } },
    'payload',
    '=',
  ],
  [
    'POST /v1/join',
    { payload: 'AAAA', signatures: { enrolment: 'A', service: 'A' } },
    'signatures',
    {},
    'signatures.enrolment',
  ],
  [
    'POST /v1/join',
    { payload: 'AAAA', signatures: { enrolment: 'A', service: 'A' } },
    'payload',
    'AAAA',
    '(document)',
  ],
  [
    'POST /v1/renew',
    { payload: 'AAAA', signatures: { current: 'A', next: 'A' } },
    'signatures',
    { current: 'A' },
    'signatures.next',
  ],

  ['POST /v1/login/password', LOGIN, 'user', 'a b'],
  ['POST /v1/login/password', LOGIN, 'password', ''],
  ['POST /v1/login/password', LOGIN, 'password', 'x'.repeat(2000)],
  ['POST /v1/login/password', LOGIN, 'public_key', 'AAAA'],
  ['POST /v1/login/password', LOGIN, 'ttl', 'soon'],
  ['POST /v1/login/password', LOGIN, 'otp', '1'],
  ['POST /v1/certs', { public_key: KEY, user: 'root-owner' }, 'public_key', 'AAAA'],
  ['POST /v1/certs', { public_key: KEY, user: 'root-owner' }, 'ttl', '10s'],
  ['POST /v1/certs', { public_key: KEY, user: 'root-owner' }, 'user', undefined],
]

function withField(base: object, path: string, value: unknown): object {
  const copy = structuredClone(base) as Record<string, unknown>
  const keys = path.split('.')
  let at = copy
  for (const key of keys.slice(0, -1)) at = (at[key] ??= {}) as Record<string, unknown>
  const last = keys.at(-1) ?? ''
  if (value === undefined) delete at[last]
  else at[last] = value
  return copy
}

const counts = async (): Promise<number[]> =>
  Promise.all(
    ['tokens', 'roles', 'users', 'locks'].map(
      async (kind) => itemsOf(await world.op('GET', `/v1/${kind}?limit=500`)).length,
    ),
  )

describe('a wrong field', () => {
  test.each(ROWS)('%s %j: %s = %j is named', async (call, base, field, wrong, path = field) => {
    const [method = '', url = ''] = call.split(' ')
    const before = await counts()
    const answer = await world.op(method, url, withField(base, field, wrong))
    expect(answer.text).toContain('ERR_INPUT_INVALID')
    expect(answer.status).toBe(400)
    expect(pathsOf(answer)).toContain(path)
    expect(await counts()).toEqual(before)
  })
})

describe('a wrong query', () => {
  test.each([
    ['/v1/tokens?limit=0', 'limit'],
    ['/v1/tokens?limit=501', 'limit'],
    ['/v1/tokens?limit=x', 'limit'],
    ['/v1/tokens?limit=1&limit=2', 'limit'],
    ['/v1/tokens?nope=1', 'nope'],
    ['/v1/roles?cursor=xxxx', 'cursor'],
    ['/v1/nodes?labels=env', 'labels'],
    ['/v1/nodes?labels==x', 'labels'],
    ['/v1/nodes?search=', 'search'],
    [`/v1/nodes?search=${'x'.repeat(3000)}`, 'search'],
    ['/v1/events?type=nope', 'type.0'],
    ['/v1/events?since=yesterday', 'since'],
    ['/v1/events?until=2001', 'until'],
  ])('%s names %s', async (path, name) => {
    const answer = await world.op('GET', path)
    expect(answer.status).toBe(400)
    expect(pathsOf(answer)).toContain(name)
  })

  test.each(['/v1/tokens', '/v1/nodes', '/v1/agents', '/v1/events'])(
    '%s refuses a cursor that it did not give',
    async (path) => {
      expect(await world.op('GET', `${path}?cursor=AAAAAAAA`)).toMatchObject({ status: 400 })
    },
  )
})

describe('a wrong body', () => {
  const post = (raw: string | Uint8Array, type = 'application/json') =>
    world.call('POST', '/v1/tokens', {
      raw,
      headers: { authorization: `Bearer ${world.operatorKey}`, 'content-type': type },
    })
  test.each([
    ['is empty', ''],
    ['is no JSON', '{roles:["Node"]}'],
    ['ends early', '{"roles":["Node"]'],
    ['has something after its end', '{"roles":["Node"]} {}'],
    ['names a key twice', '{"roles":["Node"],"roles":["App"]}'],
    ['names a key twice in two spellings', '{"roles":["Node"],"r\\u006fles":["App"]}'],
    ['reaches for __proto__', '{"roles":["Node"],"__proto__":{}}'],
    ['is nested without end', '['.repeat(100_000)],
    ['is a list', '[]'],
    ['is a text', '"roles"'],
    ['is null', 'null'],
  ])('that %s is refused as input', async (_, raw) => {
    expect(await post(raw)).toMatchObject({ status: 400, body: { code: 'ERR_INPUT_INVALID' } })
  })
  test('that is not UTF-8 is refused', async () => {
    expect((await post(Buffer.from([0x22, 0xff, 0x22]))).status).toBe(400)
  })
  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/json; charset=latin1',
  ])('of type %s is refused', async (type) => {
    const answer = await post('{"roles":["Node"]}', type)
    expect(pathsOf(answer)).toEqual(['content-type'])
  })
  test('above the cap is 413 before it is parsed', async () => {
    const answer = await post(`{"roles":["${'x'.repeat(300_000)}"]}`)
    expect(answer).toMatchObject({ status: 413, body: { code: 'ERR_INPUT_TOO_LARGE' } })
  })
  test('of a GET is refused', async () => {
    const answer = await world.op('DELETE', '/v1/tokens/x', { a: 1 })
    expect(codeOf(answer)).toBe('ERR_INPUT_INVALID')
  })
})

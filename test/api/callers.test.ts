/** Who calls, and what they may: wrong proofs, replays, locks, and answers that do not tell what exists. */
import { afterAll, describe, expect, test } from 'vitest'
import { signRequest, type RequestToSign } from '../../core/certs/signed-request.ts'
import { plus } from '../../core/clock.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { joined, mint } from './support/machine.ts'
import { codeOf, openWorld, ORIGIN, type Answer, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())
const editor = await world.user('ed', ['editor'])
const plain = await world.user('ann', ['access'], ['ann'])
const agent = await joined(world, { secret: await mint(world), node: 'web-1' })
const proxy = await world.proxy()

const key = (secret: string) => ({ headers: { authorization: `Bearer ${secret}` } })
/** What an answer says, without what differs by request. */
const essence = ({ status, body }: Answer): unknown => ({
  status,
  ...(body as Record<string, unknown>),
  requestId: undefined,
})

describe('every answer', () => {
  test('has a request id, is never cached and gives browsers nothing', async () => {
    for (const path of ['/v1/ping', '/v1/tokens', '/nothing']) {
      const { headers } = await world.call('GET', path)
      expect(headers.get('x-request-id')).toMatch(/^rq_[0-9a-z]{26}$/)
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('access-control-allow-origin')).toBeNull()
    }
  })
  test('to a failure is problem+json with code and request id', async () => {
    const answer = await world.call('GET', '/v1/tokens')
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(answer.body).toMatchObject({
      type: 'urn:postern:error:ERR_UNAUTHENTICATED',
      status: 401,
      code: 'ERR_UNAUTHENTICATED',
      requestId: answer.headers.get('x-request-id'),
    })
    expect(answer.headers.get('www-authenticate')).toBeTruthy()
  })
  test('to an unknown path is 404, to a wrong method 405 naming the right ones', async () => {
    expect(codeOf(await world.op('GET', '/v1/nothing'))).toBe('ERR_NOT_FOUND')
    const answer = await world.op('PATCH', '/v1/tokens/x')
    expect(codeOf(answer)).toBe('ERR_METHOD_NOT_ALLOWED')
    expect(answer.headers.get('allow')).toBe('DELETE, GET')
  })
})

describe('whoami', () => {
  test('tells each kind of caller who it is', async () => {
    expect((await world.op('GET', '/v1/whoami')).body).toMatchObject({ kind: 'operator' })
    expect((await world.as(plain, 'GET', '/v1/whoami')).body).toMatchObject({
      kind: 'user',
      name: 'ann',
      roles: ['access'],
      logins: ['ann'],
    })
    const self = await world.as(agent, 'GET', '/v1/whoami')
    expect(self.body).toMatchObject({ kind: 'agent', name: agent.agentId })
    expect((await world.as(proxy, 'GET', '/v1/whoami')).body).toMatchObject({ kind: 'proxy' })
  })
})

describe('a caller is refused', () => {
  const header = (overrides: Partial<RequestToSign> = {}) =>
    signRequest({
      method: 'GET',
      url: `${ORIGIN}/v1/whoami`,
      cluster: 'test.internal',
      certificate: plain.certificate,
      signer: plain.signer,
      now: world.clock.now(),
      ...overrides,
    })
  const send = (authorization: string, path = '/v1/whoami') =>
    world.call('GET', path, { headers: { authorization } })

  test.each([
    ['without credentials', undefined],
    ['with a wrong scheme', 'Basic YTpi'],
    ['with an unknown key', `Bearer pst_key_${'A'.repeat(43)}`],
    ['with a join token for a key', `Bearer pst_join_${'A'.repeat(43)}`],
    ['with two keys', 'Bearer a b'],
  ])('%s: 401', async (_, authorization) => {
    const answer = await world.call('GET', '/v1/whoami', {
      headers: authorization === undefined ? {} : { authorization },
    })
    expect(codeOf(answer)).toBe('ERR_UNAUTHENTICATED')
  })
  test.each([
    ['for another method', { method: 'POST' }],
    ['for another path', { url: `${ORIGIN}/v1/ping` }],
    ['for another query', { url: `${ORIGIN}/v1/whoami?a=b` }],
    ['for another host', { url: 'https://elsewhere.test/v1/whoami' }],
    ['for another cluster', { cluster: 'other.internal' }],
    ['with another body', { body: '{}' }],
    ['by another key', { signer: keySigner(generateKey().privateKey) }],
  ])('with a proof %s: 401', async (_, overrides) => {
    expect(codeOf(await send(await header(overrides)))).toBe('ERR_PROOF_INVALID')
  })
  test('whose clock is off, with the time of the server', async () => {
    const answer = await send(await header({ now: plus(world.clock.now(), -120_000) }))
    expect(answer).toMatchObject({ status: 401, body: { code: 'ERR_CLOCK' } })
    expect(answer.body).toHaveProperty('serverTime', world.clock.now())
  })
  test('who sends a recorded write again', async () => {
    const raw = JSON.stringify({ target: { user: 'nobody' } })
    const url = `${ORIGIN}/v1/locks`
    const identity = { certificate: editor.certificate, signer: editor.signer }
    const authorization = await header({ method: 'POST', url, body: raw, ...identity })
    const send = () => world.call('POST', '/v1/locks', { raw, headers: { authorization } })
    expect((await send()).status).toBe(201)
    expect(codeOf(await send())).toBe('ERR_PROOF_INVALID')
  })
  test('whose certificate expired', async () => {
    const short = await world.op('POST', '/v1/users', {}) // no such route: nothing happens
    expect(short.status).toBe(405)
    const pair = generateKey()
    const issued = await world.op('POST', '/v1/certs', {
      public_key: encodeKey(pair.publicKey),
      user: 'ann',
      ttl: '1m',
    })
    const { readCertificate } = await import('../../core/certs/x509-read.ts')
    const certificate = readCertificate((issued.body as { x509: string }).x509)
    const who = { certificate, signer: keySigner(pair.privateKey) }
    expect((await world.as(who, 'GET', '/v1/whoami')).status).toBe(200)
    world.later(61_000)
    expect(codeOf(await world.as(who, 'GET', '/v1/whoami'))).toBe('ERR_PROOF_INVALID')
  })
  test('who is locked, at once, and let in when the lock is removed', async () => {
    const user = await world.user('bob', ['access'])
    const lock = await world.op('POST', '/v1/locks', { target: { user: 'bob' }, ttl: '1h' })
    expect(codeOf(await world.as(user, 'GET', '/v1/whoami'))).toBe('ERR_LOCKED')
    const { name } = (lock.body as { metadata: { name: string } }).metadata
    await world.op('DELETE', `/v1/locks/${name}`)
    expect((await world.as(user, 'GET', '/v1/whoami')).status).toBe(200)
  })
  test('whose role is locked', async () => {
    await world.op('PUT', '/v1/roles/doomed', {
      kind: 'role',
      version: 'v7',
      metadata: { name: 'doomed' },
      spec: {},
    })
    const user = await world.user('dora', ['doomed'])
    await world.op('POST', '/v1/locks', { target: { role: 'doomed' } })
    expect(codeOf(await world.as(user, 'GET', '/v1/whoami'))).toBe('ERR_LOCKED')
  })
  test('who was removed', async () => {
    const user = await world.user('gone', ['access'])
    await world.op('DELETE', '/v1/users/gone')
    expect(codeOf(await world.as(user, 'GET', '/v1/whoami'))).toBe('ERR_UNAUTHENTICATED')
  })
  test('whose key belongs to a locked owner', async () => {
    const { operatorKey } = await world.plane.bootstrap({ user: 'second-op', roles: ['editor'] })
    expect((await world.call('GET', '/v1/tokens', key(operatorKey))).status).toBe(200)
    await world.op('POST', '/v1/locks', { target: { user: 'second-op' } })
    expect(codeOf(await world.call('GET', '/v1/tokens', key(operatorKey)))).toBe('ERR_LOCKED')
  })
  test('by rate, when one address goes on failing', async () => {
    const tries = Array.from({ length: 620 }, () =>
      world.call('GET', '/v1/whoami', { ...key(`pst_key_${'A'.repeat(43)}`), ip: '203.0.113.9' }),
    )
    const codes = (await Promise.all(tries)).map(codeOf)
    expect(codes).toContain('ERR_RATE_LIMITED')
    expect((await world.op('GET', '/v1/whoami')).status).toBe(200)
  })
})

describe('rights', () => {
  const LISTS = ['tokens', 'roles', 'users', 'locks', 'agents', 'events']
  test.each(LISTS)('GET /v1/%s is 403 for whom no role allows it', async (kind) => {
    for (const who of [plain, agent, proxy])
      expect(codeOf(await world.as(who, 'GET', `/v1/${kind}`))).toBe('ERR_FORBIDDEN')
  })
  test.each(LISTS)('GET /v1/%s is 200 for an editor', async (kind) => {
    expect((await world.as(editor, 'GET', `/v1/${kind}`)).status).toBe(200)
  })

  test('an auditor reads events and nothing else', async () => {
    const auditor = await world.user('audrey', ['auditor'])
    expect((await world.as(auditor, 'GET', '/v1/events')).status).toBe(200)
    expect((await world.as(auditor, 'GET', '/v1/users')).status).toBe(403)
  })

  // An attacker with any account must not learn which tokens, users or roles exist.
  test.each([
    ['GET', '/v1/tokens/known', '/v1/tokens/unknown'],
    ['DELETE', '/v1/tokens/known', '/v1/tokens/unknown'],
    ['GET', '/v1/users/ed', '/v1/users/nobody'],
    ['DELETE', '/v1/users/ed', '/v1/users/nobody'],
    ['GET', '/v1/roles/editor', '/v1/roles/nothing'],
    ['DELETE', '/v1/roles/editor', '/v1/roles/nothing'],
    ['GET', `/v1/agents/${agent.agentId}`, `/v1/agents/ag_${'0'.repeat(26)}`],
    ['DELETE', `/v1/agents/${agent.agentId}`, `/v1/agents/ag_${'0'.repeat(26)}`],
  ])('%s %s: what is denied looks like what is missing', async (method, known, unknown) => {
    await world.op('POST', '/v1/tokens', { roles: ['Node'], name: 'known' })
    for (const who of [plain, agent]) {
      const denied = await world.as(who, method, known)
      expect(denied.status).toBe(404)
      expect(essence(denied)).toEqual(essence(await world.as(who, method, unknown)))
    }
  })
  test('PUT by whom no role allows it looks the same for a known and an unknown name', async () => {
    const put = (name: string) =>
      world.as(plain, 'PUT', `/v1/users/${name}`, {
        kind: 'user',
        version: 'v2',
        metadata: { name },
        spec: { roles: ['editor'] },
      })
    const denied = await put('ed')
    expect(denied.status).toBe(404)
    expect(essence(denied)).toEqual(essence(await put('nobody')))
  })
  test('mint, lock and announce are 403 for whom they are not', async () => {
    const post = (who: typeof plain, path: string, body: object) =>
      world.as(who, 'POST', path, body)
    expect((await post(plain, '/v1/tokens', { roles: ['Node'] })).status).toBe(403)
    expect((await post(plain, '/v1/locks', { target: { user: 'ed' } })).status).toBe(403)
    expect((await post(plain, '/v1/agents/self/resources', { resources: [] })).status).toBe(403)
    expect((await post(plain, '/v1/agents/self/events', { events: [] })).status).toBe(403)
    expect((await world.op('POST', '/v1/routes', { kind: 'node', name: 'x' })).status).toBe(403)
    expect((await world.as(plain, 'GET', '/v1/policy')).status).toBe(403)
  })
  test('a role taken away is gone at once, whatever the certificate says', async () => {
    const user = await world.user('eve', ['editor'])
    expect((await world.as(user, 'GET', '/v1/users')).status).toBe(200)
    await world.user('eve', ['access'])
    expect((await world.as(user, 'GET', '/v1/users')).status).toBe(403)
  })
})

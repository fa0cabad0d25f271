/** Id tokens of a configured issuer as credentials: a CI job mints a join token and no secret is stored anywhere. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seconds } from '../../core/clock.ts'
import { LIMITS } from '../../core/limits.ts'
import { openIssuer, type OidcIssuer } from '../fakes/oidc-issuer.ts'
import { brokenIdTokens, ID_TOKEN_REASONS } from '../support/id-token-corpus.ts'
import { jwksOf, signIdToken, signingKey } from '../support/id-tokens.ts'
import { codeOf, itemsOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

let world: World
let issuer: OidcIssuer
beforeAll(async () => {
  issuer = await openIssuer({ now: () => seconds(world.clock.now()) })
  world = await openWorld({ issuers: { allowPrivate: true, ca: issuer.ca } })
  await role('minter', [{ resources: ['token'], verbs: ['create', 'read'] }])
  await role('keymaker', [{ resources: ['key', 'token'], verbs: ['*'] }])
  await apply('ci', { issuer: issuer.url, claims_to_roles: RULES })
})
afterAll(async () => {
  await world.close()
  await issuer.close()
})

const RULES = [
  { claims: { team: 'web', 'job.branch': ['main', 'release-*'] }, roles: ['minter'] },
  { claims: { groups: 'ops' }, roles: ['keymaker'] },
]
const role = (name: string, rules: object[]) =>
  world.op('PUT', `/v1/roles/${name}`, {
    kind: 'role',
    version: 'v7',
    metadata: { name },
    spec: { allow: { rules } },
  })
const file = (name: string, spec: object) => ({
  kind: 'oidc_connector',
  version: 'v1',
  metadata: { name },
  spec,
})
const put = (name: string, spec: object): Promise<Answer> =>
  world.op('PUT', `/v1/oidc_connectors/${name}`, file(name, spec))
async function apply(name: string, spec: object): Promise<void> {
  const answer = await put(name, spec)
  expect([200, 201], answer.text).toContain(answer.status)
}
const GOOD = { aud: 'test.internal', sub: 'job-7', team: 'web', job: { branch: 'main' } }
const token = (claims: object = {}): string => issuer.issue({ ...GOOD, ...claims })
const by = (
  idToken: string,
  method = 'POST',
  path = '/v1/tokens',
  body: unknown = method === 'POST' ? { roles: ['Node'] } : undefined,
): Promise<Answer> =>
  world.call(method, path, { body, headers: { authorization: `Bearer ${idToken}` } })

interface EventItem {
  readonly actor: string
  readonly reason?: string
  readonly fields: Record<string, unknown>
}
const lastEvent = async (type: string): Promise<EventItem | undefined> =>
  itemsOf<EventItem>(await world.op('GET', `/v1/events?type=${type}&limit=1`))[0]

describe('a job with an id token', () => {
  test('mints a join token, and the audit log names issuer and subject', async () => {
    const minted = await by(token())
    expect(minted.status, minted.text).toBe(201)
    expect(await lastEvent('token.create')).toMatchObject({
      actor: 'oidc/ci/job-7',
      fields: { issuer: issuer.url, subject: 'job-7' },
    })
  })
  test('is told who it is and what it may do', async () => {
    const { body } = await by(token(), 'GET', '/v1/whoami')
    expect(body).toMatchObject({
      kind: 'workload',
      issuer: issuer.url,
      subject: 'job-7',
      roles: ['minter'],
      permissions: { token: ['read', 'create'] },
    })
  })
  test('may do nothing beyond its roles', async () => {
    expect((await by(token(), 'GET', '/v1/tokens')).status).toBe(403)
    expect((await by(token(), 'GET', '/v1/users/root-owner')).status).toBe(404)
    expect(await lastEvent('operator.refused')).toMatchObject({
      actor: 'oidc/ci/job-7',
      reason: 'may not read user',
    })
  })
  test('makes no API key, whatever its roles: that would be the stored secret', async () => {
    const scopes = [{ resources: ['token'], verbs: ['create'] }]
    const asked = await by(token({ groups: ['dev', 'ops'] }), 'POST', '/v1/keys', {
      name: 'stored',
      scopes,
    })
    expect(codeOf(asked)).toBe('ERR_FORBIDDEN')
  })
  test('gets no certificate of a user and no route', async () => {
    const ops = token({ groups: ['ops'] })
    expect((await by(ops, 'POST', '/v1/certs', { public_key: 'AA', user: 'ann' })).status).toBe(401)
    expect((await by(ops, 'POST', '/v1/routes', { kind: 'node', name: 'x' })).status).toBe(401)
  })
  test('repeats a write with its Idempotency-Key and gets the same secret', async () => {
    const send = () =>
      world.call('POST', '/v1/tokens', {
        body: { roles: ['Node'] },
        headers: { authorization: `Bearer ${token()}`, 'idempotency-key': 'run-1' },
      })
    const [first, second] = [await send(), await send()]
    expect(second.body).toEqual(first.body)
  })
})

describe('who is let in', () => {
  test.each([
    ['another team', { team: 'ops' }],
    ['no team', { team: undefined }],
    ['a branch that begins alike', { job: { branch: 'main2' } }],
    ['a nested claim that is none', { job: 'main' }],
    ['a group that contains the name', { team: 'x', groups: ['ops-team'] }],
    ['a claim with a pattern in it', { job: { branch: 'release' } }],
  ])('%s is let in by no rule', async (_, claims) => {
    expect(codeOf(await by(token(claims)))).toBe('ERR_UNAUTHENTICATED')
    const event = await lastEvent('operator.refused')
    expect(event).toMatchObject({ actor: 'oidc/ci', reason: 'no rule of connector ci fits job-7' })
  })
  test('a pattern fits what it says, and a group one of a list', async () => {
    expect((await by(token({ job: { branch: 'release-2' } }))).status).toBe(201)
    expect((await by(token({ team: 'x', groups: ['dev', 'ops'] }))).status).toBe(201)
  })
  test('an issuer without a connector is asked for nothing', async () => {
    const before = issuer.asked.length
    const stranger = signIdToken(signingKey('ES256'), { ...GOOD, iss: `${issuer.url}/other` })
    expect(codeOf(await by(stranger))).toBe('ERR_UNAUTHENTICATED')
    expect(issuer.asked.length).toBe(before)
  })
  test('of two connectors for one issuer each lets in its own audience', async () => {
    await apply('other', {
      issuer: issuer.url,
      audience: 'https://elsewhere.example',
      claims_to_roles: [{ claims: { team: 'web' }, roles: ['keymaker'] }],
    })
    const { body } = await by(token({ aud: 'https://elsewhere.example' }), 'GET', '/v1/whoami')
    expect(body).toMatchObject({ name: 'other/job-7', roles: ['keymaker'] })
    await world.op('DELETE', '/v1/oidc_connectors/other')
    expect((await by(token({ aud: 'https://elsewhere.example' }))).status).toBe(401)
  })
  test('nobody any more at the moment that the connector is removed', async () => {
    await apply('brief', { issuer: `${issuer.url}`, audience: 'brief', claims_to_roles: RULES })
    expect((await by(token({ aud: 'brief' }))).status).toBe(201)
    expect((await world.op('DELETE', '/v1/oidc_connectors/brief')).status).toBe(204)
    expect((await by(token({ aud: 'brief' }))).status).toBe(401)
  })
  test('nobody whose role is locked', async () => {
    const lock = await world.op('POST', '/v1/locks', { target: { role: 'minter' } })
    expect(codeOf(await by(token()))).toBe('ERR_LOCKED')
    const { name } = (lock.body as { metadata: { name: string } }).metadata
    await world.op('DELETE', `/v1/locks/${name}`)
    expect((await by(token())).status).toBe(201)
  })
  test('an address that the issuer calls unproven counts for nothing', async () => {
    const claims_to_roles = [{ claims: { email: 'ann@example.com' }, roles: ['minter'] }]
    await apply('mail', { issuer: issuer.url, audience: 'mail', claims_to_roles })
    const mail = (verified: unknown) =>
      by(token({ aud: 'mail', email: 'ann@example.com', email_verified: verified }))
    expect((await mail(true)).status).toBe(201)
    expect((await mail(false)).status).toBe(401)
    expect((await mail('true')).status).toBe(401)
    await world.op('DELETE', '/v1/oidc_connectors/mail')
  })
})

describe('an issuer that fails', () => {
  test('is told as such, and not as a wrong token', async () => {
    const down = await openIssuer({ now: () => seconds(world.clock.now()) })
    down.behave('status 500')
    await apply('down', { issuer: down.url, tls_ca: down.ca, claims_to_roles: RULES })
    const answer = await by(down.issue(GOOD))
    expect(answer.status).toBe(503)
    expect(codeOf(answer)).toBe('ERR_UNREACHABLE')
    expect((await lastEvent('operator.refused'))?.reason).toContain('status 500')
    await down.close()
    await world.op('DELETE', '/v1/oidc_connectors/down')
  })
  test('does not end those whose keys are known: they are used for a day', async () => {
    expect((await by(token())).status).toBe(201)
    issuer.behave('status 500')
    world.later(LIMITS.jwksTtl.value + 1)
    expect((await by(token())).status).toBe(201)
    issuer.behave('well')
  })
  test.each(['redirect', 'impostor', 'plain', 'private key', 'html'] as const)(
    'by %s lets nobody in',
    async (behaviour) => {
      const bad = await openIssuer({ now: () => seconds(world.clock.now()) })
      bad.behave(behaviour)
      await apply('bad', { issuer: bad.url, tls_ca: bad.ca, claims_to_roles: RULES })
      expect(codeOf(await by(bad.issue(GOOD)))).toBe('ERR_UNAUTHENTICATED')
      expect(bad.asked).not.toContain('/moved')
      await bad.close()
      await world.op('DELETE', '/v1/oidc_connectors/bad')
    },
  )
})

describe('an id token broken in one way', () => {
  const key = signingKey('ES256')
  const now = 1_800_000_000
  const claims = {
    iss: 'https://pinned.example',
    ...GOOD,
    iat: now - 10,
    nbf: now - 10,
    exp: now + 300,
  }
  const broken: Record<string, string> = {
    ...brokenIdTokens({ key, other: signingKey('ES256'), claims, audience: GOOD.aud, now }),
    'a life of more than a day': signIdToken(key, { ...claims, exp: now + 86_401 }),
  }
  // HTTP has no header that ends in white space: these arrive whole.
  for (const name of ['a space at its end', 'a line end at its end']) delete broken[name]
  const REASONS: Record<string, RegExp> = {
    ...ID_TOKEN_REASONS,
    'a life of more than a day': /lives longer than 86400 s/,
  }
  /** Not audited: whose they claim to be is not even readable, so no connector was asked. */
  const SILENT = new Set([
    'no issuer',
    'a claim named twice',
    'a payload that is a list',
    'a payload that is no JSON',
    'two parts',
    'five parts, as encrypted tokens have',
    'many dots',
    'a token of more than 16 KiB',
  ])
  beforeAll(async () => {
    await apply('pinned', {
      issuer: claims.iss,
      static_jwks: jwksOf(key),
      claims_to_roles: [{ claims: { team: 'web' }, roles: ['minter'] }],
    })
    world.later(now * 1000 - world.clock.now())
  })
  test('would be let in whole', async () => {
    expect((await by(signIdToken(key, claims))).status).toBe(201)
  })
  test.each(Object.entries(broken))('is refused for %s', async (name, idToken) => {
    const before = await lastEvent('operator.refused')
    const answer = await by(idToken)
    expect(codeOf(answer)).toBe('ERR_UNAUTHENTICATED')
    expect(JSON.stringify(answer.body)).not.toMatch(/signature|audience|expired|issuer/i)
    const event = await lastEvent('operator.refused')
    if (SILENT.has(name)) return expect(event).toEqual(before)
    expect(event).not.toEqual(before)
    expect(event?.reason).toMatch(REASONS[name] ?? /^$/)
    expect(event?.fields).toMatchObject({ issuer: claims.iss, call: 'POST /v1/tokens' })
  })
})

describe('a connector file', () => {
  const spec = (more: object) => ({ issuer: 'https://ci.example', claims_to_roles: RULES, ...more })
  const github = 'https://token.actions.githubusercontent.com'
  const rule = (claims: object) => [{ claims, roles: ['minter'] }]

  test('reads back as one that makes the same connector again', async () => {
    await apply('again', spec({ audience: 'a', static_jwks: jwksOf(signingKey('ES256')) }))
    const { body } = await world.op('GET', '/v1/oidc_connectors/again')
    const { status, ...whole } = body as { status: unknown }
    expect(status).toBeDefined()
    expect((await world.op('PUT', '/v1/oidc_connectors/again', whole)).status).toBe(200)
    const names = itemsOf(await world.op('GET', '/v1/oidc_connectors')).map((c) => c.metadata.name)
    expect(names).toEqual([...names].sort())
  })

  test.each<[string, object, string]>([
    ['plain http', { issuer: 'http://ci.example' }, 'spec.issuer'],
    ['an issuer with a user', { issuer: 'https://a@ci.example' }, 'spec.issuer'],
    ['no rules', { claims_to_roles: [] }, 'spec.claims_to_roles'],
    ['a rule without claims', { claims_to_roles: rule({}) }, 'spec.claims_to_roles.0.claims'],
    [
      'a claim that may be anything',
      { claims_to_roles: rule({ team: '*' }) },
      'spec.claims_to_roles.0.claims',
    ],
    [
      'a role that is not there',
      { claims_to_roles: [{ claims: { a: 'b' }, roles: ['ghost'] }] },
      'spec.claims_to_roles.0.roles.0',
    ],
    ['a private key set', { static_jwks: '{"keys":[]}' }, 'spec.static_jwks'],
    ["Teleport's word for the issuer", { issuer_url: 'https://x.example' }, 'spec.issuer_url'],
    ['a client secret', { client_secret: 'x' }, 'spec.client_secret'],
  ])('with %s is refused by name', async (_, more, path) => {
    expect(pathsOf(await put('wrong', spec(more)))).toEqual([path])
  })

  // Everybody with an account there has such tokens: a branch alone would let in the world.
  test.each<[string, object]>([
    ['a branch alone', { ref: 'refs/heads/main' }],
    ['a repository of any owner', { repository: '*/web' }],
    ['a subject of any repository', { sub: 'repo:*:ref:refs/heads/main' }],
    ['an owner that a pattern fits', { repository_owner: 'acme*' }],
    ['one good value and one of anybody', { repository: ['acme/web', '*/web'] }],
  ])('for GitHub with %s is refused', async (_, claims) => {
    const answer = await put('hub', { issuer: github, claims_to_roles: rule(claims) })
    expect(pathsOf(answer)).toEqual(['spec.claims_to_roles.0.claims'])
  })
  test.each<[string, object]>([
    ['a repository', { repository: 'acme/web', ref: 'refs/heads/main' }],
    ['all repositories of an owner', { repository: 'acme/*' }],
    ['an owner', { repository_owner: 'acme', environment: 'prod' }],
    ['a subject', { sub: 'repo:acme/web:environment:prod' }],
  ])('for GitHub with %s is taken', async (_, claims) => {
    await apply('hub', { issuer: github, claims_to_roles: rule(claims) })
  })

  test('that gives more than its author may do is refused: it would be a way around', async () => {
    await role('connectors', [{ resources: ['oidc_connector', 'token'], verbs: ['*'] }])
    const connie = await world.user('connie', ['connectors'])
    const send = (roles: string[]) =>
      world.as(
        connie,
        'PUT',
        '/v1/oidc_connectors/mine',
        file('mine', spec({ claims_to_roles: [{ claims: { a: 'b' }, roles }] })),
      )
    expect(codeOf(await send(['editor']))).toBe('ERR_FORBIDDEN')
    expect((await send(['minter'])).status).toBe(201)
  })
})

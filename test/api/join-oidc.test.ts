/** Joining with id tokens: no secret anywhere, rules in the token resource, evidence that counts for one agent. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seconds } from '../../core/clock.ts'
import { OIDC_METHODS, type OidcMethodName } from '../../core/domain/join-method.ts'
import { openIssuer, type OidcIssuer } from '../fakes/oidc-issuer.ts'
import { CASES } from '../support/id-token-cases.ts'
import { jwksOf, signIdToken, signingKey } from '../support/id-tokens.ts'
import { joined, mint, tryJoin, type MachineJoin } from './support/machine.ts'
import { codeOf, itemsOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

let world: World
let issuer: OidcIssuer
beforeAll(async () => {
  issuer = await openIssuer({ now: () => seconds(world.clock.now()) })
  world = await openWorld({ issuers: { allowPrivate: true, ca: issuer.ca } })
})
afterAll(async () => {
  await world.close()
  await issuer.close()
})

let n = 0
const resource = (name: string, method: OidcMethodName, block: unknown, spec: object = {}) => ({
  kind: 'token',
  version: 'v2',
  metadata: { name },
  spec: { roles: ['Node', 'App'], join_method: method, [method]: block, ...spec },
})

/** A generic token on the test issuer; answers its name. */
async function create(spec: object = {}): Promise<string> {
  const name = `ci-${++n}`
  const block = { issuer: issuer.url, must_match_fields: { team: 'web' } }
  const made = await world.op('POST', '/v1/tokens', resource(name, 'oidc', block, spec))
  expect(made.status, made.text).toBe(201)
  return name
}
const good = (claims: object = {}): string =>
  issuer.issue({ aud: 'test.internal', sub: 'job-1', team: 'web', ...claims })
const shows = (token: string, idToken: string): NonNullable<MachineJoin['shows']> => ({
  method: 'oidc',
  token,
  evidence: { id_token: idToken },
})
interface EventItem {
  outcome: string
  reason?: string
  fields: Record<string, unknown>
}
const lastJoin = async (): Promise<EventItem | undefined> =>
  itemsOf<EventItem>(await world.op('GET', '/v1/events?type=agent.join&limit=1'))[0]

describe('a token without a secret', () => {
  test.each(OIDC_METHODS)(
    'of method %s is made from a file, and read back as one',
    async (method) => {
      const given = CASES[method].block(jwksOf(signingKey(CASES[method].alg)))
      const file = resource(`file-${method}`, method, given)
      const made = await world.op('POST', '/v1/tokens', file)
      expect(made.status, made.text).toBe(201)
      expect(made.body).not.toHaveProperty('secret')
      const read = await world.op('GET', `/v1/tokens/file-${method}`)
      expect(read.body).toMatchObject({ spec: { join_method: method, max_uses: null } })
      const { spec } = read.body as { spec: Record<string, unknown> }
      expect(spec[method]).toMatchObject(given)
      const again = { ...file, metadata: { name: `again-${method}` }, spec }
      expect((await world.op('POST', '/v1/tokens', again)).status).toBe(201)
    },
  )

  test('of method generic_oidc, as other files call it, is one of oidc', async () => {
    const file = resource('generic', 'oidc', undefined)
    const block = { issuer: issuer.url, must_match_fields: { team: 'web' } }
    const spec = { ...file.spec, join_method: 'generic_oidc', generic_oidc: block }
    const made = await world.op('POST', '/v1/tokens', { ...file, spec })
    expect(made.status, made.text).toBe(201)
    const { body } = await world.op('GET', '/v1/tokens/generic')
    expect(body).toMatchObject({ spec: { join_method: 'oidc', oidc: block } })
  })

  test('may be good for years, as it is no key that could be lost', async () => {
    const file = resource('for-years', 'github', CASES.github.block(''))
    const metadata = { name: 'for-years', expires: '2050-01-01T00:00:00Z' }
    expect((await world.op('POST', '/v1/tokens', { ...file, metadata })).status).toBe(201)
    const secret = { ...file, metadata, spec: { roles: ['Node'], join_method: 'token' } }
    expect(pathsOf(await world.op('POST', '/v1/tokens', secret))).toEqual(['metadata.expires'])
  })

  const key = signingKey('ES256')
  const jwks = jwksOf(key)
  const refused: [string, OidcMethodName, unknown, string][] = [
    ['no block', 'github', undefined, 'spec.github'],
    ['no rules', 'github', { allow: [] }, 'spec.github.allow'],
    ['a rule that names nobody', 'github', { allow: [{ ref: 'main' }] }, 'spec.github.allow.0'],
    ['an empty rule', 'github', { allow: [{}] }, 'spec.github.allow.0'],
    [
      'a field with a typo',
      'github',
      { allow: [{ repository: 'a/b', repo: 'a/b' }] },
      'spec.github.allow.0.repo',
    ],
    ['an empty value', 'github', { allow: [{ repository: '' }] }, 'spec.github.allow.0'],
    [
      'a host with a path',
      'github',
      { enterprise_server_host: 'a.example/b', allow: [{ sub: 's' }] },
      'spec.github.enterprise_server_host',
    ],
    [
      'a host with a user',
      'gitlab',
      { domain: 'gitlab.com@evil.example', allow: [{ sub: 's' }] },
      'spec.gitlab.domain',
    ],
    [
      'a slug that climbs',
      'github',
      { enterprise_slug: '../x', allow: [{ sub: 's' }] },
      'spec.github.enterprise_slug',
    ],
    [
      'a pattern that fits everything',
      'gitlab',
      { allow: [{ project_path: '**' }] },
      'spec.gitlab.allow.0.project_path',
    ],
    [
      'a flag that is a text',
      'gitlab',
      { allow: [{ sub: 's', ref_protected: 'true' }] },
      'spec.gitlab.allow.0.ref_protected',
    ],
    [
      'no organisation',
      'terraform_cloud',
      { allow: [{ workspace_name: 'prod' }] },
      'spec.terraform_cloud.allow.0',
    ],
    [
      'Kubernetes of an unknown type',
      'kubernetes',
      { type: 'magic', allow: [{ service_account: 'a:b' }] },
      'spec.kubernetes.type',
    ],
    [
      'Kubernetes without its keys',
      'kubernetes',
      { type: 'static_jwks', allow: [{ service_account: 'a:b' }] },
      'spec.kubernetes',
    ],
    [
      'keys that are none',
      'kubernetes',
      { type: 'static_jwks', static_jwks: { jwks: '{}' }, allow: [{ service_account: 'a:b' }] },
      'spec.kubernetes.static_jwks.jwks',
    ],
    [
      'a private key among the keys',
      'kubernetes',
      {
        type: 'static_jwks',
        static_jwks: { jwks: JSON.stringify({ keys: [key.privateKey.export({ format: 'jwk' })] }) },
        allow: [{ service_account: 'a:b' }],
      },
      'spec.kubernetes.static_jwks.jwks',
    ],
    [
      'an issuer by plain HTTP',
      'oidc',
      { issuer: 'http://a.example', must_match_fields: { a: 'b' } },
      'spec.oidc.issuer',
    ],
    ['an issuer and no rules', 'oidc', { issuer: 'https://a.example' }, 'spec.oidc'],
    [
      'rules that only forbid',
      'oidc',
      {
        issuer: 'https://a.example',
        static_jwks: jwks,
        allow_any: [{ conditions: [{ attribute: 'a', not_eq: { value: 'b' } }] }],
      },
      'spec.oidc.allow_any',
    ],
    [
      'a condition of two kinds',
      'oidc',
      {
        issuer: 'https://a.example',
        allow_any: [
          { conditions: [{ attribute: 'a', eq: { value: 'b' }, in: { values: ['b'] } }] },
        ],
      },
      'spec.oidc.allow_any.0.conditions.0',
    ],
    [
      'an expression that is none',
      'oidc',
      { issuer: 'https://a.example', allow_any: [{ expression: 'claims.a =' }] },
      'spec.oidc.allow_any.0.expression',
    ],
    [
      'an expression for everybody',
      'oidc',
      { issuer: 'https://a.example', allow_any: [{ expression: 'true' }] },
      'spec.oidc.allow_any',
    ],
  ]
  test.each(refused)('is refused with %s, by its path', async (_, method, block, path) => {
    const answer = await world.op('POST', '/v1/tokens', resource(`bad-${++n}`, method, block))
    expect(codeOf(answer)).toBe('ERR_INPUT_INVALID')
    expect(pathsOf(answer)).toContain(path)
  })

  test('is refused with the block of another method, and in the short form', async () => {
    const both = resource('both', 'github', CASES.github.block(''), {
      gitlab: CASES.gitlab.block(''),
    })
    expect(pathsOf(await world.op('POST', '/v1/tokens', both))).toEqual(['spec.gitlab'])
    const short = { roles: ['Node'], join_method: 'github' }
    expect(pathsOf(await world.op('POST', '/v1/tokens', short))).toEqual(['join_method'])
  })
})

describe('an agent with an id token', () => {
  test('joins, and the audit log has who it was', async () => {
    const token = await create()
    await joined(world, { shows: shows(token, good()), node: 'oidc-1' })
    expect(await lastJoin()).toMatchObject({
      outcome: 'ok',
      fields: {
        method: 'oidc',
        token,
        subject: 'job-1',
        claims: expect.arrayContaining([`iss=${issuer.url}`, 'aud=test.internal']) as string[],
      },
    })
  })

  test('joins two services, and repeats a lost answer, with one id token', async () => {
    const shown = shows(await create(), good())
    const first = await joined(world, { shows: shown, node: 'oidc-2' })
    const { enrolment, key } = first
    const again = await joined(world, { shows: shown, node: 'oidc-2', enrolment, key })
    const app = await joined(world, { shows: shown, node: 'oidc-2', enrolment, service: 'app' })
    expect([again.agentId, app.agentId]).toEqual([first.agentId, first.agentId])
  })

  test('on a machine of its own: 200 at once on a token for three, exactly three are in', async () => {
    const token = await create({ max_uses: 3 })
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        tryJoin(world, {
          shows: shows(token, good({ sub: `job-${i}` })),
          node: `oidc-race-${i}`,
          ip: `198.51.100.${i}`,
        }),
      ),
    )
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(3)
  })
})

describe('a token whose rule is an expression', () => {
  const shown = async (claims: object): Promise<Answer> => {
    const block = {
      issuer: issuer.url,
      allow_any: [
        { expression: 'claims.team == "web" && !contains(claims.flags, "fork")' },
        { conditions: [{ attribute: 'team', eq: { value: 'ops' } }] },
      ],
    }
    const name = `said-${++n}`
    expect((await world.op('POST', '/v1/tokens', resource(name, 'oidc', block))).status).toBe(201)
    return tryJoin(world, { shows: shows(name, good(claims)), node: name })
  }
  test('lets in whom it holds for, and goes on to the next rule where it does not', async () => {
    expect((await shown({ team: 'web', flags: [] })).status).toBe(200)
    expect((await shown({ team: 'ops' })).status).toBe(200)
    expect(codeOf(await shown({ team: 'web', flags: ['fork'] }))).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin())?.reason).toBe('no rule of the token fits')
  })
  test('lets in nobody whom it cannot decide on, and the audit log says why', async () => {
    const answer = await shown({ team: 'web' })
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect(answer.text).not.toContain('flags')
    expect((await lastJoin())?.reason).toBe(
      'an expression of the token cannot be decided: claims.flags is not there',
    )
  })
})

describe('an id token is refused, with the reason only in the audit log,', () => {
  const kept = signingKey('ES256', 'kept')
  const refusals: [string, (token: string) => Promise<Answer>, RegExp][] = [
    [
      'when another agent showed it before',
      async (token) => {
        const shown = shows(token, good())
        await joined(world, { shows: shown, node: `replay-${++n}` })
        return tryJoin(world, { shows: shown, node: `replay-${++n}` })
      },
      /shown by another agent before/,
    ],
    [
      'when no rule fits',
      (token) => tryJoin(world, { shows: shows(token, good({ team: 'ops' })) }),
      /^no rule of the token fits$/,
    ],
    [
      'when no rule fits, even for a service that the token does not allow',
      async () =>
        tryJoin(world, {
          shows: shows(await create({ roles: ['Node'] }), good({ team: 'ops' })),
          service: 'app',
        }),
      /^no rule of the token fits$/,
    ],
    [
      'when no token has that name',
      () => tryJoin(world, { shows: shows('nobody', good()) }),
      /^unknown token$/,
    ],
    [
      'when the token has a secret',
      async () => {
        await mint(world, { name: 'has-secret' })
        return tryJoin(world, { shows: shows('has-secret', good()) })
      },
      /^wrong method$/,
    ],
    [
      'when the token expired',
      async () => {
        const name = `short-${++n}`
        const expires = new Date(world.clock.now() + 60_000).toISOString()
        const file = resource(name, 'oidc', {
          issuer: issuer.url,
          must_match_fields: { team: 'web' },
        })
        await world.op('POST', '/v1/tokens', { ...file, metadata: { name, expires } })
        world.later(60_001)
        return tryJoin(world, { shows: shows(name, good()) })
      },
      /^expired$/,
    ],
    [
      'when the token was revoked',
      async (token) => {
        await world.op('DELETE', `/v1/tokens/${token}`)
        return tryJoin(world, { shows: shows(token, good()) })
      },
      /^unknown token$/,
    ],
    [
      'when it is out of date',
      (token) => {
        const old = good()
        world.later(331_000)
        return tryJoin(world, { shows: shows(token, old) })
      },
      /id token: expired/,
    ],
    [
      'when it is made out to somebody else',
      (token) => tryJoin(world, { shows: shows(token, good({ aud: 'other' })) }),
      /audience is "other", expected "test\.internal"/,
    ],
    [
      'when another issuer signed it',
      (token) =>
        tryJoin(world, {
          shows: shows(token, signIdToken(kept, { iss: issuer.url, aud: 'test.internal' })),
        }),
      /no key of the issuer has kid "kept"/,
    ],
    [
      'when the evidence has another field',
      (token) =>
        tryJoin(world, {
          shows: { ...shows(token, ''), evidence: { id_token: good(), jwks_uri: issuer.url } },
        }),
      /evidence: jwks_uri/,
    ],
  ]
  test.each(refusals)('%s', async (_, attempt, reason) => {
    const answer = await attempt(await create())
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect(answer.text).not.toMatch(reason)
    expect(await lastJoin()).toMatchObject({
      outcome: 'refused',
      reason: expect.stringMatching(reason) as string,
    })
  })

  // ECDSA signatures have a second spelling that verifies as well: it must not count as another id token.
  test('when another agent showed it with the other spelling of its signature', async () => {
    const token = await create()
    const idToken = good()
    await joined(world, { shows: shows(token, idToken), node: `malleable-${++n}` })
    const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
    const at = idToken.lastIndexOf('.') + 1
    const signature = Buffer.from(idToken.slice(at), 'base64url')
    const s = order - BigInt(`0x${signature.subarray(32).toString('hex')}`)
    signature.write(s.toString(16).padStart(64, '0'), 32, 'hex')
    const other = idToken.slice(0, at) + signature.toString('base64url')
    const answer = await tryJoin(world, { shows: shows(token, other), node: `malleable-${++n}` })
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin())?.reason).toMatch(/shown by another agent before/)
  })

  test('and the issuer is never one that only the id token names', async () => {
    const { length } = issuer.asked
    const token = await create({
      oidc: { issuer: 'https://127.0.0.1:9', must_match_fields: { team: 'web' } },
    })
    const answer = await tryJoin(world, { shows: shows(token, good()) })
    expect(codeOf(answer)).toBe('ERR_UNREACHABLE')
    expect(issuer.asked).toHaveLength(length)
  })

  test('a token by name is never found by the hash of a secret', async () => {
    const token = await create()
    const secret = `pst_join_${'A'.repeat(43)}`
    const answer = await tryJoin(world, {
      secret,
      shows: { method: 'token', token, evidence: { secret } },
    })
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
  })
})

describe('an issuer of our own is asked where the block says,', () => {
  test.each([
    ['gitlab', '', { project_path: 'acme/*' }, (host: string) => ({ domain: host })],
    [
      'github',
      '/_services/token',
      { repository: 'acme/web' },
      (host: string) => ({ enterprise_server_host: host }),
    ],
    ['terraform_cloud', '', undefined, (host: string) => ({ hostname: host })],
    [
      'kubernetes',
      '/id/1234',
      undefined,
      (host: string) => ({ type: 'oidc', oidc: { issuer: `https://${host}/id/1234` } }),
    ],
  ] as const)('as for %s', async (method, path, rule, where) => {
    // Made at first use: the clock is that of the world below.
    const own = await openIssuer({ alg: 'RS256', path, now: () => seconds(trusting.clock.now()) })
    const trusting = await openWorld({ issuers: { allowPrivate: true, ca: own.ca } })
    try {
      const allow = rule ? [rule] : CASES[method].block('')['allow']
      const file = resource('own', method, { ...where(new URL(own.url).host), allow })
      expect((await trusting.op('POST', '/v1/tokens', file)).status).toBe(201)
      const claims = { ...CASES[method].claims, aud: 'test.internal' }
      const evidence = { id_token: own.issue(claims) }
      await joined(trusting, { shows: { method, token: 'own', evidence } })
      expect(own.asked).toEqual([`${path}/.well-known/openid-configuration`, `${path}/keys`])
    } finally {
      await trusting.close()
      await own.close()
    }
  })
})

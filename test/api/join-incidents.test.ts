/**
 * What went wrong elsewhere around joining, join tokens and the tokens of issuers, each by its name: the same attempt, made on us.
 * Those that are about one method alone are in that method's file: CVE-2020-16250 and CVE-2022-2385 (join-iam), SPIRE 1.14.6 and 1.14.7
 * with CVE-2026-46354 (join-ec2, join-azure), CVE-2026-45796 and SPIRE 1.14.2 (integration/join/issuer-keys, vectors/azure),
 * CVE-2023-43660 (join-bound-keypair), CVE-2026-40097 (fuzz/join).
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { generateKey } from '../../core/certs/signer.ts'
import { identityOf } from '../../core/certs/identity.ts'
import { seconds } from '../../core/clock.ts'
import { fakeIssuers, type FakeIssuers } from '../fakes/issuers.ts'
import { CASES } from '../support/id-token-cases.ts'
import { encode, hmacWithPublicKey, jwksOf, signIdToken, signingKey } from '../support/id-tokens.ts'
import { joinBy, lastJoin, tokenFile } from './support/method-join.ts'
import { challenge, joined, mint, tryJoin, tryRenew } from './support/machine.ts'
import { codeOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

const GOOGLE = CASES.gcp.issuer
const STRANGER = 'https://evil.example'
const ISSUER = 'https://ci.example.com'
const key = signingKey('RS256')
let world: World
let issuers: FakeIssuers
let n = 0
let serial = 0
beforeAll(async () => {
  issuers = await fakeIssuers([GOOGLE, STRANGER])
  world = await openWorld({ issuers: { at: issuers.at } })
  const oidc = { issuer: ISSUER, static_jwks: jwksOf(key), must_match_fields: { team: 'web' } }
  for (const [name, spec] of [
    ['ci', { join_method: 'oidc', oidc }],
    ['google', { join_method: 'gcp', gcp: { allow: [{ project_ids: ['acme-prod'] }] } }],
  ] as const)
    expect((await world.op('POST', '/v1/tokens', tokenFile(name, spec))).status).toBe(201)
})
afterAll(async () => {
  await world.close()
  await issuers.close()
})
beforeEach(() => void (n += 1))

const times = (): object => {
  const iat = seconds(world.clock.now())
  return { iat, nbf: iat, exp: iat + 300 }
}
const claims = (change: object = {}): object => ({
  iss: ISSUER,
  aud: 'test.internal',
  sub: `job-${n}`,
  team: 'web',
  ...times(),
  ...change,
})
const show = (token: string, method: 'oidc' | 'gcp', idToken: string): Promise<Answer> =>
  joinBy(world, { method, token, node: `ci-${n}`, evidence: () => ({ id_token: idToken }) })
const ci = (idToken: string): Promise<Answer> => show('ci', 'oidc', idToken)

async function refused(answer: Answer, reason: RegExp): Promise<void> {
  expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
  expect(answer.text).not.toMatch(reason)
  expect((await lastJoin(world))?.reason).toMatch(reason)
}

test('the id token that the rest of this file bends is good', async () => {
  expect((await ci(signIdToken(key, claims()))).status).toBe(200)
})

describe('join tokens', () => {
  test.each(['$(id)', '`id`', 'a;b', "a'b", 'a"b', 'a b', 'a\nb', 'a&b', '../a', '<script>'])(
    'CVE-2022-36633: a name that a shell would read otherwise is refused, not escaped: %j',
    async (name) => {
      expect(pathsOf(await world.op('POST', '/v1/tokens', { name, roles: ['Node'] }))).toEqual([
        'name',
      ])
    },
  )

  test('GHSA-rxmp-8h9v-56cx: what a token allows is asked in the commit, not only before it', async () => {
    const secret = await mint(world, { name: `revoked-${n}` })
    const keys = { enrolment: generateKey(), key: generateKey(), service: 'ssh' as const }
    await challenge(world, { secret, ...keys })
    await world.op('DELETE', `/v1/tokens/revoked-${n}`)
    await refused(await tryJoin(world, { secret, ...keys, node: `gone-${n}` }), /^unknown token$/)
  })

  test('CVE-2022-41316: a revoked token refuses the very next join, of an agent that it admitted too', async () => {
    const secret = await mint(world, { name: `short-${n}`, max_uses: 5 })
    const { enrolment } = await joined(world, { secret, node: `first-${n}` })
    await world.op('DELETE', `/v1/tokens/short-${n}`)
    const more = { secret, node: `first-${n}`, enrolment, service: 'app' as const }
    await refused(await tryJoin(world, more), /^unknown token$/)
  })

  test('frp: a proof that was seen on its way is not good for anybody else, nor for long', async () => {
    const secret = await mint(world, { name: `seen-${n}`, max_uses: 5 })
    const keys = { enrolment: generateKey(), key: generateKey(), service: 'ssh' as const }
    const sealed = await challenge(world, { secret, ...keys })
    const withSeen = (p: Parameters<NonNullable<Parameters<typeof tryJoin>[1]['mutate']>>[0]) => ({
      ...p,
      challenge: sealed,
    })
    const thief = await tryJoin(world, { secret, node: `thief-${n}`, mutate: withSeen })
    expect(codeOf(thief)).toBe('ERR_JOIN_CHALLENGE_INVALID')
    expect((await lastJoin(world))?.reason).toBe('the challenge was for another enrolment key')
    world.later(60_001)
    const late = await tryJoin(world, { secret, ...keys, node: `late-${n}`, mutate: withSeen })
    expect(codeOf(late)).toBe('ERR_JOIN_CHALLENGE_INVALID')
    expect((await lastJoin(world))?.reason).toBe('the challenge expired')
  })
})

describe('identities', () => {
  test.each([
    ['agent_id', 'ag_01jd00000000000000000000aa'],
    ['principals', ['root-ca']],
    ['roles', ['Proxy']],
    ['ttl', '10y'],
  ])('CVE-2021-41393, CVE-2026-55429: a machine cannot choose its %s', async (field, value) => {
    const secret = await mint(world)
    const mutate = <P extends object>(payload: P): P => ({ ...payload, [field]: value })
    const answer = await tryJoin(world, { secret, node: `chooser-${n}`, mutate })
    expect(pathsOf(answer)).toEqual([field])
  })

  test('CVE-2026-55429: a name that an agent holds is not rebound by whoever asks next', async () => {
    const first = await joined(world, { secret: await mint(world), node: `held-${n}` })
    const second = await tryJoin(world, { secret: await mint(world), node: `held-${n}` })
    expect(codeOf(second)).toBe('ERR_NAME_TAKEN')
    expect(identityOf(first.certificate)).toMatchObject({ agentId: first.agentId })
  })

  test("CVE-2025-66406: an agent's own key does not renew another agent's certificate", async () => {
    const [mine, theirs] = [
      await joined(world, { secret: await mint(world), node: `mine-${n}` }),
      await joined(world, { secret: await mint(world), node: `theirs-${n}` }),
    ]
    const mixed = { certificate: theirs.certificate, signer: mine.signer }
    expect((await tryRenew(world, mixed, 1)).status).toBeGreaterThanOrEqual(400)
    expect((await tryRenew(world, theirs, 1)).status).toBe(200)
  })

  test('CVE-2026-30836: what is parsed and not supported is refused, never let through', async () => {
    const body = {
      method: 'magic',
      token: 'x',
      service: 'ssh',
      enrolment_key: 'A',
      service_key: 'A',
    }
    const asked = await world.call('POST', '/v1/join/challenge', { body })
    expect(pathsOf(asked)).toContain('method')
    const secret = await mint(world)
    const mutate = <P extends object>(payload: P): P => ({ ...payload, method: 'iam' })
    const other = await tryJoin(world, { secret, node: `other-${n}`, mutate })
    expect(codeOf(other)).toBe('ERR_JOIN_CHALLENGE_INVALID')
  })
})

describe('tokens of issuers', () => {
  test.each<[string, () => string]>([
    [
      'CVE-2022-23540: algorithm none',
      () => `${encode({ alg: 'none', typ: 'JWT' })}.${encode(claims())}.`,
    ],
    [
      'CVE-2015-9235: HMAC with the public key as its secret',
      () => hmacWithPublicKey(key, claims()),
    ],
    [
      'CVE-2026-22817: an algorithm that only the header names',
      () => signIdToken(key, claims(), { alg: 'RS512', kid: key.kid, typ: 'JWT' }),
    ],
  ])('%s', async (_, make) => refused(await ci(make()), /^id token: /))

  test.each<[string, object, RegExp]>([
    ['SPIRE 1.12.3: no exp', { exp: undefined }, /^id token: exp is missing$/],
    ['no iat', { iat: undefined }, /^id token: iat is missing$/],
    ['no sub', { sub: undefined }, /^id token: sub is missing/],
    [
      'CVE-2024-5798: an audience that begins alike',
      { aud: 'test.internal.evil' },
      /^id token: audience is/,
    ],
    ['CVE-2024-5798: an audience that ours begins with', { aud: 'test' }, /^id token: audience is/],
    [
      'CVE-2024-5798: an audience in a list of lists',
      { aud: [['test.internal']] },
      /^id token: aud is neither/,
    ],
    ['CVE-2024-5798: no audience', { aud: undefined }, /^id token: aud is missing$/],
  ])('%s', async (_, change, reason) => refused(await ci(signIdToken(key, claims(change))), reason))

  test.each<[string, string]>([
    ['CVE-2025-27144: ten thousand dots', '.'.repeat(10_000)],
    [
      'GHSA-2c7c-3mj9-8fqh: five parts, an encrypted token',
      `${encode({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 1e9 })}.a.b.c.d`,
    ],
    [
      'CVE-2024-28176: a compressed one',
      `${encode({ alg: 'dir', enc: 'A128GCM', zip: 'DEF' })}.a.b.c.d`,
    ],
  ])('%s', async (_, idToken) => refused(await ci(idToken), /^id token: /))

  test('CVE-2020-16251: of Google issuer, audience and project hold together or not at all', async () => {
    const vm = { ...CASES.gcp.claims, aud: 'test.internal', ...times() }
    const google = (change: object = {}, issuer = GOOGLE): Promise<Answer> =>
      show('google', 'gcp', issuers.issue(issuer, { ...vm, sub: `vm-${++serial}`, ...change }))
    expect((await google()).status).toBe(200)
    await refused(await google({}, STRANGER), /^id token: issuer is/)
    await refused(await google({ aud: 'vault/role' }), /^id token: audience is/)
    const engine = { compute_engine: { project_id: 'evil', zone: 'europe-west1-b' } }
    await refused(await google({ google: engine }), /^no rule of the token fits$/)
    await refused(await google({ google: undefined }), /^no rule of the token fits$/)
  })
})

test.each([
  ['a pattern for an account', { aws_account: '12345678901?' }],
  ['a pattern where the account stands in an ARN', { aws_arn: 'arn:aws:iam::*:role/web' }],
  [
    'an ARN of another account',
    { aws_account: '123456789012', aws_arn: 'arn:aws:iam::999999999999:role/web' },
  ],
])('CVE-2025-11621: %s is refused when the token is made', async (_, rule) => {
  const file = tokenFile(`aws-${n}`, { join_method: 'iam', allow: [rule] })
  expect(codeOf(await world.op('POST', '/v1/tokens', file))).toBe('ERR_INPUT_INVALID')
})

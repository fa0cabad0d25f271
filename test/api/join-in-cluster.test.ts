/** Method `kubernetes`, type `in_cluster`: the cluster around the control plane says whose token it is, over real HTTPS. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { generateKey } from '../../core/certs/signer.ts'
import { fakeKube, type FakeKube } from '../fakes/kube-api.ts'
import { handClock } from '../support/clock.ts'
import { signIdToken, signingKey } from '../support/id-tokens.ts'
import { joinBy, lastJoin, tokenFile, type MethodJoin } from './support/method-join.ts'
import { codeOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

const clock = handClock()
const AUDIENCE = 'test.internal'
let world: World
let kube: FakeKube
let n = 0
beforeAll(async () => {
  kube = await fakeKube(clock)
  world = await openWorld({ clock, kubernetes: kube.cluster })
  const allow = [{ service_account: 'web:postern' }]
  // As existing files have it: in_cluster is what no type means.
  for (const [name, block] of [
    ['pods', { allow }],
    ['typed', { type: 'in_cluster', allow }],
  ] as const) {
    const file = tokenFile(name, { join_method: 'kubernetes', kubernetes: block })
    expect((await world.op('POST', '/v1/tokens', file)).status).toBe(201)
  }
})
afterAll(async () => {
  await world.close()
  await kube.close()
})
beforeEach(() => void (n += 1))

const join = (idToken: string, more: Partial<MethodJoin> = {}): Promise<Answer> =>
  joinBy(world, {
    method: 'kubernetes',
    token: 'pods',
    node: `pod-${n}`,
    evidence: () => ({ id_token: idToken }),
    ...more,
  })
const good = (change: object = {}): string =>
  kube.token('web:postern', AUDIENCE, { jti: `j-${n}`, ...change })

test.each(['pods', 'typed'])('a pod of the account that a rule names joins (%s)', async (token) => {
  expect((await join(good(), { token })).status).toBe(200)
  expect(await lastJoin(world)).toMatchObject({
    outcome: 'ok',
    fields: { method: 'kubernetes', subject: 'system:serviceaccount:web:postern' },
  })
})

test('its token is spent: another agent that shows it is refused, the same one joins again', async () => {
  const idToken = good()
  const keys = { enrolment: generateKey(), key: generateKey() }
  expect((await join(idToken, keys)).status).toBe(200)
  expect((await join(idToken, keys)).status).toBe(200)
  expect(codeOf(await join(idToken, { node: 'thief' }))).toBe('ERR_JOIN_REFUSED')
  expect((await lastJoin(world))?.reason).toMatch(/shown by another agent before/)
})

test('a cluster that does not answer is not a refusal', async () => {
  kube.next(503)
  expect(codeOf(await join(good()))).toBe('ERR_UNREACHABLE')
})

describe('a join is refused without a word,', () => {
  const stranger = signingKey('RS256')
  const pod = (change: object): object => ({
    'kubernetes.io': { namespace: 'web', serviceaccount: { name: 'postern' }, ...change },
  })
  const refusals: [string, () => string, RegExp, Parameters<FakeKube['next']>[0]?][] = [
    [
      'for a token by another key',
      () => signIdToken(stranger, { sub: 'system:serviceaccount:web:postern', aud: [AUDIENCE] }),
      /^token review: the cluster does not know it \(invalid bearer token\)$/,
    ],
    [
      'for a token made out to the API server, as every pod has one',
      () => kube.token('web:postern', 'https://kubernetes.default.svc'),
      /^token review: the cluster does not know it \(token audiences are invalid/,
    ],
    [
      'for the token of a pod that is gone',
      () => good(pod({ pod: { name: 'postern-9', uid: '9' } })),
      /^token review: the cluster does not know it \(pod is gone\)$/,
    ],
    [
      'for a token that an operator made by hand',
      () => good(pod({})),
      /^token review: it belongs to no pod$/,
    ],
    [
      'for a token that expired',
      () => good({ exp: 1_000_000_000, iat: 999_999_400 }),
      /^token review: the cluster does not know it \(service account token has expired\)$/,
    ],
    [
      'for a token that lives too long',
      () => good({ exp: Math.floor(clock.now() / 1000) + 3600 }),
      /^id token: lives longer than 1800 s$/,
    ],
    [
      'for another account',
      () => kube.token('web:default', AUDIENCE),
      /^no rule of the token fits$/,
    ],
    [
      'for another namespace',
      () =>
        kube.token(
          'evil:postern',
          AUDIENCE,
          pod({
            namespace: 'evil',
            serviceaccount: { name: 'postern' },
            pod: { name: 'postern-0', uid: '7' },
          }),
        ),
      /^token review: the cluster does not know it \(pod is gone\)$/,
    ],
    ['for no token at all', () => 'e30.e30.e30', /^id token: algorithm undefined|absent/],
    [
      'for an algorithm that the cluster does not use',
      () => signIdToken(stranger, {}, { alg: 'HS256', typ: 'JWT' }),
      /^id token: algorithm "HS256" is not allowed/,
    ],
    [
      // A cluster that ignores audiences answers for a token that was made out to somebody else.
      'when the cluster does not confirm the audience',
      () => good(),
      /^token review: the cluster does not confirm the audience$/,
      (status) => ({ ...status, audiences: undefined }),
    ],
    [
      'when the cluster names somebody else',
      () => good(),
      /^id token: its issuer says that it is of "system:serviceaccount:web:other"$/,
      (status) => ({
        ...status,
        user: { ...(status['user'] as object), username: 'system:serviceaccount:web:other' },
      }),
    ],
    [
      'when the cluster names nobody',
      () => good(),
      /^token review: the cluster names nobody$/,
      (status) => ({ ...status, user: undefined }),
    ],
    [
      'when the answer is of another kind',
      () => good(),
      /^token review: not as expected/,
      () => ({ authenticated: 'yes' }),
    ],
    ['when we may not ask', () => good(), /^token review: the cluster answered 403$/, 403],
    [
      'when the answer is a redirect',
      () => good(),
      /^token review: the cluster answered 302$/,
      302,
    ],
  ]
  test.each(refusals)('%s', async (_, make, reason, change) => {
    if (change !== undefined) kube.next(change)
    const answer = await join(make())
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect(answer.text).not.toMatch(reason)
    expect((await lastJoin(world))?.reason).toMatch(reason)
  })

  test('for a token too long to be shown to the cluster', async () => {
    const before = kube.asked.length
    expect(codeOf(await join(good({ filler: 'x'.repeat(20_000) })))).toBe('ERR_JOIN_REFUSED')
    expect(kube.asked).toHaveLength(before)
  })

  test('where the control plane runs in no cluster', async () => {
    const alone = await openWorld()
    const allow = [{ service_account: 'web:postern' }]
    await alone.op(
      'POST',
      '/v1/tokens',
      tokenFile('pods', { join_method: 'kubernetes', kubernetes: { allow } }),
    )
    const evidence = (): object => ({ id_token: good() })
    await joinBy(alone, { method: 'kubernetes', token: 'pods', evidence })
    expect((await lastJoin(alone))?.reason).toBe(
      'token review: the control plane runs in no Kubernetes cluster',
    )
    await alone.close()
  })
})

test('keys in a token that says in_cluster are refused by their field', async () => {
  const kubernetes = { oidc: { issuer: 'https://a.example' }, allow: [{ service_account: 'a:b' }] }
  const file = tokenFile('both', { join_method: 'kubernetes', kubernetes })
  expect(pathsOf(await world.op('POST', '/v1/tokens', file))).toEqual(['spec.kubernetes'])
})

/** Method `iam` against an STS that recomputes every signature: what is let in, and a corpus that is broken in one place each. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { signV4, type AwsCredentials } from '../../core/aws/sigv4.ts'
import { credentials } from '../../core/api/join.ts'
import { plus } from '../../core/clock.ts'
import { generateKey } from '../../core/certs/signer.ts'
import {
  CHALLENGE_HEADER,
  STS_BODY,
  STS_CONTENT_TYPE,
  type IamEvidence,
} from '../../core/join/iam.ts'
import { fakeSts, type FakeSts } from '../fakes/sts.ts'
import { handClock } from '../support/clock.ts'
import { joinBy, lastJoin, tokenFile, type MethodJoin } from './support/method-join.ts'
import { codeOf, itemsOf, openWorld, pathsOf, type World } from './support/world.ts'

const ACCOUNT = '123456789012'
const ARN = `arn:aws:sts::${ACCOUNT}:assumed-role/web-fleet/i-0abc`
const WEB: AwsCredentials = {
  accessKeyId: 'ASIAEXAMPLEWEBFLEET1',
  secretAccessKey: 'a-secret-of-the-web-fleet',
  sessionToken: 'a+session/token=',
}
const OTHER: AwsCredentials = {
  accessKeyId: 'AKIAEXAMPLEOTHERACCT',
  secretAccessKey: 'a-secret-of-another-account',
  sessionToken: undefined,
}

const clock = handClock()
let sts: FakeSts
let world: World
let n = 0
beforeAll(async () => {
  sts = await fakeSts(clock)
  sts.principals.set(WEB.accessKeyId, {
    secretAccessKey: WEB.secretAccessKey,
    sessionToken: WEB.sessionToken ?? '',
    account: ACCOUNT,
    arn: ARN,
  })
  sts.principals.set(OTHER.accessKeyId, {
    secretAccessKey: OTHER.secretAccessKey,
    account: '999999999999',
    arn: 'arn:aws:iam::999999999999:user/mallory',
  })
  world = await openWorld({ clock, aws: { sts: sts.at } })
  const allow = [
    { aws_account: ACCOUNT, aws_arn: `arn:aws:sts::${ACCOUNT}:assumed-role/web-*/i-????` },
  ]
  const made = await world.op(
    'POST',
    '/v1/tokens',
    tokenFile('fleet', { join_method: 'iam', allow }),
  )
  expect(made.status).toBe(201)
  expect(made.body).not.toHaveProperty('secret')
})
afterAll(async () => {
  await world.close()
  await sts.close()
})
beforeEach(() => void (n += 1))

interface Changes {
  readonly credentials?: AwsCredentials
  readonly host?: string
  readonly headers?: Record<string, string>
  readonly body?: string
  readonly method?: string
  readonly late?: number
}
/** The call as an honest machine signs it, with what is changed before it is signed. */
function signedCall(challenge: string, change: Changes = {}): IamEvidence {
  const host = change.host ?? 'sts.eu-west-1.amazonaws.com'
  const body = change.body ?? STS_BODY
  const method = change.method ?? 'POST'
  const headers = {
    'content-type': STS_CONTENT_TYPE,
    [CHALLENGE_HEADER]: challenge,
    ...change.headers,
  }
  const signed = signV4(
    { method, host, path: '/', headers, body },
    { region: 'eu-west-1', service: 'sts' },
    change.credentials ?? WEB,
    plus(clock.now(), -(change.late ?? 0)),
  )
  return { url: `https://${host}/`, method, headers: Object.entries(signed), body }
}
const join = (evidence: MethodJoin['evidence'], more: Partial<MethodJoin> = {}) =>
  joinBy(world, { method: 'iam', token: 'fleet', node: `web-${n}`, evidence, ...more })
/** Changes the call after it was signed. */
const altered = (change: (call: IamEvidence) => unknown) => (challenge: string) =>
  change(signedCall(challenge))
const setHeader = (name: string, value: (was: string) => string) =>
  altered((call) => ({
    ...call,
    headers: call.headers.map(([key, was]) => [key, key === name ? value(was) : was]),
  }))
const addHeader = (name: string, value: string) =>
  altered((call) => ({ ...call, headers: [...call.headers, [name, value]] }))
const url = (text: string) => altered((call) => ({ ...call, url: text }))

describe('a machine with credentials that a rule allows', () => {
  test('joins, and the audit log says who AWS says it is', async () => {
    const answer = await join(signedCall)
    expect(answer.status).toBe(200)
    expect(credentials.parse(answer.body).join_state).toBeUndefined()
    expect(await lastJoin(world)).toMatchObject({
      outcome: 'ok',
      fields: { method: 'iam', token: 'fleet', subject: ARN },
    })
    expect(sts.calls.at(-1)).toBe(`POST sts.eu-west-1.amazonaws.com ${STS_BODY}`)
  })

  test.each([
    'sts.amazonaws.com',
    'sts-fips.us-east-1.amazonaws.com',
    'sts.cn-north-1.amazonaws.com.cn',
  ])('may sign for %s', async (host) => {
    expect((await join((c) => signedCall(c, { host }))).status).toBe(200)
  })

  test('200 of them at once on a token for 5: exactly five identities', async () => {
    const spec = { join_method: 'iam', max_uses: 5, allow: [{ aws_account: ACCOUNT }] }
    await world.op('POST', '/v1/tokens', tokenFile('five', spec))
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        join(signedCall, { token: 'five', node: `five-${i}`, ip: `198.51.100.${i}` }),
      ),
    )
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(5)
    const agents = await world.op('GET', '/v1/agents?limit=500')
    const listed = itemsOf<{ spec: { token: string } }>(agents)
    expect(listed.filter((agent) => agent.spec.token === 'five')).toHaveLength(5)
  }, 120_000)

  test('whose answer was lost repeats the call: the same identity', async () => {
    const keys = { enrolment: generateKey(), key: generateKey() }
    const [first, again] = [await join(signedCall, keys), await join(signedCall, keys)]
    expect(credentials.parse(again.body).agent_id).toBe(credentials.parse(first.body).agent_id)
  })

  test('when STS does not answer in time, it is told to try again', async () => {
    sts.next(() => 'hang')
    const before = sts.calls.length
    const answer = join(signedCall)
    while (sts.calls.length === before) await new Promise((resolve) => setImmediate(resolve))
    clock.advance(5_000)
    expect(codeOf(await answer)).toBe('ERR_TIMEOUT')
  })
})

describe('a join is refused without a word,', () => {
  const refusals: [string, MethodJoin['evidence'], RegExp, Partial<MethodJoin>?][] = [
    // Whoever chooses the server that is asked chooses the answer.
    [
      'for a host that is not of AWS (CVE-2020-16250)',
      (c) => signedCall(c, { host: 'sts.example.com' }),
      /not one of STS/,
    ],
    [
      'for another service of AWS',
      (c) => signedCall(c, { host: 's3.amazonaws.com' }),
      /not one of STS/,
    ],
    [
      'for a region that does not exist',
      (c) => signedCall(c, { host: 'sts.eu-west-9.amazonaws.com' }),
      /not one of STS/,
    ],
    ['for a name under STS', url('https://evil.sts.amazonaws.com/'), /not one of STS/],
    ['for a name that STS is under', url('https://sts.amazonaws.com.evil.test/'), /not one of STS/],
    [
      'for a name with user information',
      url('https://sts.amazonaws.com@evil.test/'),
      /not one of STS/,
    ],
    ['for another port', url('https://sts.eu-west-1.amazonaws.com:8443/'), /not one of STS/],
    [
      'for the default port spelled out',
      url('https://sts.eu-west-1.amazonaws.com:443/'),
      /not one of STS/,
    ],
    ['for a name in capitals', url('https://STS.eu-west-1.amazonaws.com/'), /not one of STS/],
    ['for a name with a dot at the end', url('https://sts.amazonaws.com./'), /not one of STS/],
    ['for plain HTTP', url('http://sts.eu-west-1.amazonaws.com/'), /not one of STS/],
    ['for another path', url('https://sts.eu-west-1.amazonaws.com/x'), /not one of STS/],
    // Parameters that are there twice, or that nobody asked for.
    [
      'for a query (CVE-2022-2385)',
      url('https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity'),
      /not one of STS/,
    ],
    ['for a fragment', url('https://sts.eu-west-1.amazonaws.com/#'), /not one of STS/],
    ['for a parameter more', (c) => signedCall(c, { body: `${STS_BODY}&X=1` }), /the one call/],
    [
      'for a parameter twice (CVE-2022-2385)',
      (c) => signedCall(c, { body: `${STS_BODY}&Action=GetCallerIdentity` }),
      /the one call/,
    ],
    [
      'for another action',
      (c) => signedCall(c, { body: 'Action=GetSessionToken&Version=2011-06-15' }),
      /the one call/,
    ],
    ['for no body', (c) => signedCall(c, { body: '' }), /the one call/],
    ['for GET', (c) => signedCall(c, { method: 'GET' }), /not POST/],
    [
      'for a header that is not on the list',
      (c) => signedCall(c, { headers: { 'x-forwarded-host': 'evil' } }),
      /not allowed/,
    ],
    ['for a header named like a property', addHeader('constructor', 'x'), /not allowed/],
    ['for a header twice', addHeader('X-Amz-Date', '20261123T120000Z'), /twice/],
    ['for a host twice', addHeader('Host', 'sts.amazonaws.com'), /twice/],
    [
      'for another host in the header',
      setHeader('host', () => 'sts.amazonaws.com'),
      /host of the address/,
    ],
    ['for a line end in a header', setHeader('x-amz-date', (was) => `${was}\r\nx: y`), /malformed/],
    ['for an Accept that asks for XML', addHeader('accept', 'text/xml'), /another value/],
    [
      'for a length that is not that of the body',
      addHeader('content-length', '5'),
      /another value/,
    ],
    // The challenge: without it a call signed once would admit for a quarter of an hour.
    [
      'for a challenge that is not signed',
      (c) => {
        const call = signedCall(c)
        const bare = signV4(
          {
            method: 'POST',
            host: 'sts.eu-west-1.amazonaws.com',
            path: '/',
            headers: { 'content-type': STS_CONTENT_TYPE },
            body: STS_BODY,
          },
          { region: 'eu-west-1', service: 'sts' },
          WEB,
          clock.now(),
        )
        return { ...call, headers: [...Object.entries(bare), [CHALLENGE_HEADER, c]] }
      },
      /x-postern-challenge is not signed/,
    ],
    [
      'for a challenge of another join',
      () => signedCall('another-challenge'),
      /not the one of this join/,
    ],
    [
      'for no challenge at all',
      altered((call) => ({
        ...call,
        headers: call.headers.filter(([k]) => k !== CHALLENGE_HEADER),
      })),
      /was not sent/,
    ],
    [
      'for a challenge that was changed after signing',
      setHeader(CHALLENGE_HEADER, (was) => `${was}A`),
      /not the one of this join/,
    ],
    [
      'for no authorization',
      altered((call) => ({
        ...call,
        headers: call.headers.filter(([k]) => k !== 'authorization'),
      })),
      /not a signature/,
    ],
    [
      'for a signature of another service',
      setHeader('authorization', (was) => was.replace('/sts/', '/s3/')),
      /not a signature/,
    ],
    [
      'for a signature of another algorithm',
      setHeader('authorization', (was) => was.replace('AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA1')),
      /not a signature/,
    ],
    [
      'for a header named twice among the signed',
      setHeader('authorization', (was) => was.replace('SignedHeaders=', 'SignedHeaders=host;')),
      /named twice/,
    ],
    [
      'for a session token that is not signed',
      (c) => {
        const call = signedCall(c, { credentials: { ...WEB, sessionToken: undefined } })
        return {
          ...call,
          headers: [...call.headers, ['x-amz-security-token', WEB.sessionToken ?? '']],
        }
      },
      /token is not signed/,
    ],
    [
      'for a wrong key',
      (c) => signedCall(c, { credentials: { ...WEB, secretAccessKey: 'guess' } }),
      /STS answered 403/,
    ],
    [
      'for an unknown key',
      (c) => signedCall(c, { credentials: { ...WEB, accessKeyId: 'AKIANOBODYKNOWSTHIS0' } }),
      /STS answered 403/,
    ],
    [
      'for a signature that is too old',
      (c) => signedCall(c, { late: 16 * 60_000 }),
      /STS answered 403/,
    ],
    [
      'for another account',
      (c) => signedCall(c, { credentials: OTHER }),
      /no rule allows account 999999999999/,
    ],
    ['for an unknown token', signedCall, /^unknown token$/, { token: 'nobody' }],
    [
      'for evidence with a field more',
      altered((call) => ({ ...call, extra: 1 })),
      /evidence: extra/,
    ],
    [
      'for headers as an object',
      altered((call) => ({ ...call, headers: Object.fromEntries(call.headers) })),
      /evidence: headers/,
    ],
    [
      'for a header that is too long',
      setHeader('x-amz-security-token', () => 'x'.repeat(9000)),
      /evidence: headers/,
    ],
    [
      'for too many headers',
      altered((call) => ({ ...call, headers: Array(17).fill(['accept', 'x']) })),
      /evidence: headers/,
    ],
  ]
  test.each(refusals)('%s', async (_, evidence, reason, more) => {
    const before = sts.calls.length
    const answer = await join(evidence, more)
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    const event = await lastJoin(world)
    expect(event?.reason).toMatch(reason)
    expect(answer.text).not.toMatch(reason)
    // Nothing that we could have found wrong ourselves was ever sent.
    const asked = /STS answered|no rule/.test(reason.source) ? 1 : 0
    expect(sts.calls.length - before).toBe(asked)
  })

  const answers: [string, Parameters<FakeSts['next']>[0], RegExp][] = [
    [
      'a redirect',
      () => ({ status: 302, headers: { location: 'https://evil.test/' } }),
      /answered 302/,
    ],
    ['XML', () => ({ type: 'text/xml' }), /did not answer with JSON/],
    ['no type', () => ({ type: '' }), /did not answer with JSON/],
    // JSON in which an XML reader would find another account.
    [
      'XML that calls itself JSON (CVE-2020-16250)',
      () => ({ body: '<GetCallerIdentityResponse/>' }),
      /not as expected/,
    ],
    [
      'a key twice',
      (r) => ({ body: r.body.replace('"Account"', '"Account":"1","Account"') }),
      /named twice/,
    ],
    [
      'an account that is a number',
      (r) => ({ body: r.body.replace(`"${ACCOUNT}"`, ACCOUNT) }),
      /not as expected/,
    ],
    [
      'an ARN of another account',
      (r) => ({ body: r.body.replace(`sts::${ACCOUNT}`, 'sts::999999999999') }),
      /another account/,
    ],
    ['a page without end', () => ({ body: 'x'.repeat(70_000) }), /too much/],
    [
      'an error with status 200',
      () => ({ body: '{"Error":{"Code":"Throttling"}}' }),
      /not as expected/,
    ],
  ]
  test.each(answers)('when STS answers with %s', async (_, override, reason) => {
    sts.next(override)
    expect(codeOf(await join(signedCall))).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin(world))?.reason).toMatch(reason)
  })

  test('when the evidence was made for another agent', async () => {
    let stolen: IamEvidence | undefined
    await join((c) => (stolen = signedCall(c)), { node: 'victim' })
    expect(codeOf(await join(() => stolen))).toBe('ERR_JOIN_REFUSED')
    expect((await lastJoin(world))?.reason).toMatch(/not the one of this join/)
  })
})

describe('rules of a token', () => {
  test.each([
    ['none', {}, 'spec.allow'],
    ['an empty list', { allow: [] }, 'spec.allow'],
    [
      'without an account',
      { allow: [{ aws_arn: 'arn:aws:sts::*:assumed-role/web' }] },
      'spec.allow.0.aws_account',
    ],
    ['an account as a pattern', { allow: [{ aws_account: '1234*' }] }, 'spec.allow.0.aws_account'],
    [
      'an account that the ARN contradicts',
      { allow: [{ aws_account: ACCOUNT, aws_arn: 'arn:aws:sts::999999999999:assumed-role/x/y' }] },
      'spec.allow.0.aws_arn',
    ],
    [
      'regions',
      { allow: [{ aws_account: ACCOUNT, aws_regions: ['eu-west-1'] }] },
      'spec.allow.0.aws_regions',
    ],
    [
      'an organization',
      { allow: [{ aws_organization_id: 'o-1' }] },
      'spec.allow.0.aws_organization_id',
    ],
    [
      'a field of ec2',
      { allow: [{ aws_account: ACCOUNT }], aws_iid_ttl: '5m' },
      'spec.aws_iid_ttl',
    ],
    [
      'a field of bound_keypair',
      { allow: [{ aws_account: ACCOUNT }], bound_keypair: {} },
      'spec.bound_keypair',
    ],
  ])('%s: the field is named', async (_, spec, path) => {
    const answer = await world.op(
      'POST',
      '/v1/tokens',
      tokenFile('wrong', { join_method: 'iam', ...spec }),
    )
    expect([answer.status, ...pathsOf(answer)]).toEqual([400, path])
  })

  test('are shown as they were given, and a token without a name gets one', async () => {
    const { body } = await world.op('GET', '/v1/tokens/fleet')
    expect(body).toMatchObject({
      spec: { join_method: 'iam', max_uses: null, allow: [{ aws_account: ACCOUNT }] },
    })
    const nameless = {
      ...tokenFile('x', { join_method: 'iam', allow: [{ aws_account: ACCOUNT }] }),
      metadata: {},
    }
    const made = await world.op('POST', '/v1/tokens', nameless)
    expect(made.body).toMatchObject({ name: expect.stringMatching(/^tk-/) as string })
    expect(
      pathsOf(await world.op('POST', '/v1/tokens', { roles: ['Node'], join_method: 'iam' })),
    ).toEqual(['join_method'])
  })
})

/** A signed request holds for exactly what was signed, by exactly who may sign, for a minute. */
import { beforeAll, describe, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { isAppError } from '../../../core/errors.ts'
import { jwsSign } from '../../../core/certs/jws.ts'
import { generateKey, keySigner } from '../../../core/certs/signer.ts'
import {
  signRequest,
  verifySignedRequest,
  type RequestToSign,
  type RequestToVerify,
} from '../../../core/certs/signed-request.ts'
import { LIMITS } from '../../../core/limits.ts'
import {
  agentLeaf,
  CLUSTER,
  failure,
  makeCa,
  NOW,
  userLeaf,
  type Ca,
  type Leaf,
} from '../../support/pki.ts'

const ORIGIN = 'https://access.example.com'
let hostCa: Ca
let userCa: Ca
let agent: Leaf
let alice: Leaf
beforeAll(async () => {
  hostCa = await makeCa('host CA')
  userCa = await makeCa('user CA')
  agent = await agentLeaf(hostCa)
  alice = await userLeaf(userCa, 'alice', 'EdDSA')
})

const toSign = (who: Leaf, change: Partial<RequestToSign> = {}): RequestToSign => ({
  method: 'POST',
  url: `${ORIGIN}/v1/routes?a=1&b=%20`,
  body: '{"x":1}',
  cluster: CLUSTER,
  ...who,
  now: NOW,
  ...change,
})
const toVerify = (change: Partial<RequestToVerify> = {}): RequestToVerify => ({
  method: 'POST',
  origins: ['https://127.0.0.1:3080', ORIGIN],
  pathAndQuery: '/v1/routes?a=1&b=%20',
  body: Buffer.from('{"x":1}'),
  cluster: CLUSTER,
  roots: { host: [hostCa.certificate], user: [userCa.certificate] },
  now: NOW,
  ...change,
})

test('an agent and a user are known by what they signed', async () => {
  const a = await verifySignedRequest(await signRequest(toSign(agent)), toVerify())
  expect(a.identity.kind).toBe('agent')
  expect(a.certificate.fingerprint).toBe(agent.certificate.fingerprint)
  const u = await verifySignedRequest(await signRequest(toSign(alice)), toVerify())
  expect(u.identity).toMatchObject({ kind: 'user', user: 'alice' })
  expect(u.jti).not.toBe(a.jti)
  expect(u.iat).toBe(NOW)
})

test('a request without a body is signed as an empty one', async () => {
  const url = `${ORIGIN}/v1/ping`
  const header = await signRequest({ method: 'get', url, cluster: CLUSTER, ...agent, now: NOW })
  await verifySignedRequest(header, toVerify({ method: 'GET', pathAndQuery: '/v1/ping', body: '' }))
})

// API Gateway's HTTP APIs decode the path before a function sees it.
describe('a path means the same in every spelling', () => {
  const signedFor = (path: string) =>
    signRequest({ method: 'get', url: ORIGIN + path, cluster: CLUSTER, ...agent, now: NOW })
  const check = async (signed: string, received: string) =>
    failure(async () =>
      verifySignedRequest(
        await signedFor(signed),
        toVerify({ method: 'GET', pathAndQuery: received, body: '' }),
      ),
    )
  test.each([
    ['/v1/users/ann%40example.com', '/v1/users/ann@example.com'],
    ['/v1/users/a%20b?x=%2B', '/v1/users/a b?x=%2B'],
    ['/v1/x?a=1&b=%20', '/v1/x?a=1&b=+'],
  ])('%s and %s', async (signed, received) => {
    expect(await check(signed, received)).toBeUndefined()
  })
  test.each([
    ['a slash is not a part of a name', '/v1/users/a%2Fb', '/v1/users/a/b'],
    ['nothing is decoded twice', '/v1/users/%2561', '/v1/users/a'],
    ['a parameter more', '/v1/x?a=1', '/v1/x?a=1&b=2'],
    ['another order', '/v1/x?a=1&b=2', '/v1/x?b=2&a=1'],
    ['what cannot be decoded', '/v1/x%20', '/v1/x%'],
    ['a question mark in a name', '/v1/x%3Fa=1', '/v1/x?a=1'],
  ])('%s: %s is not %s', async (_why, signed, received) => {
    expect(await check(signed, received)).toMatchObject({
      reason: 'signed request: path or query',
    })
  })
})

describe('a request is refused', () => {
  test.each<[string, Partial<RequestToVerify>]>([
    ['method', { method: 'DELETE' }],
    ['origin', { origins: ['https://other.example.com'] }],
    ['origin', { origins: [] }],
    ['path or query', { pathAndQuery: '/v1/routes' }],
    ['path or query', { pathAndQuery: '/v1/routes?b=%20&a=1' }],
    ['body', { body: '{"x":2}' }],
    ['body', { body: '' }],
  ])('for another %s', async (reason, change) => {
    const header = await signRequest(toSign(agent))
    const result = await failure(() => verifySignedRequest(header, toVerify(change)))
    expect(result).toEqual({ code: 'ERR_PROOF_INVALID', reason: `signed request: ${reason}` })
  })

  test('for another cluster, by audience and by identity', async () => {
    const forOther = await signRequest(toSign(agent, { cluster: 'other' }))
    expect((await failure(() => verifySignedRequest(forOther, toVerify())))?.reason).toMatch(
      /audience/,
    )
    const result = await failure(() =>
      verifySignedRequest(forOther, toVerify({ cluster: 'other' })),
    )
    expect(result?.reason).toMatch(/identity of another cluster/)
  })

  test('when user and host CA are mixed up', async () => {
    const roots = { host: [userCa.certificate], user: [hostCa.certificate] }
    for (const who of [agent, alice]) {
      const header = await signRequest(toSign(who))
      const result = await failure(() => verifySignedRequest(header, toVerify({ roots })))
      expect(result?.code).toBe('ERR_PROOF_INVALID')
    }
    // A user CA that could name an agent would be a host CA.
    const posing = await agentLeaf(userCa)
    const header = await signRequest(toSign(posing))
    expect((await failure(() => verifySignedRequest(header, toVerify())))?.reason).toMatch(
      /not a pinned CA/,
    )
  })

  test('with the certificate of somebody else', async () => {
    const thief = keySigner(generateKey().privateKey)
    const header = await signRequest(toSign(agent, { signer: thief }))
    expect((await failure(() => verifySignedRequest(header, toVerify())))?.reason).toMatch(
      /signature/,
    )
  })

  test('with a certificate that has expired', async () => {
    const now = plus(agent.certificate.notAfter, 1)
    const header = await signRequest(toSign(agent, { now }))
    expect(await failure(() => verifySignedRequest(header, toVerify({ now })))).toEqual({
      code: 'ERR_PROOF_INVALID',
      reason: expect.stringMatching(/expired/) as string,
    })
  })
})

describe('the time of a request', () => {
  const window = LIMITS.proofWindow.value
  test.each([
    [-window, true],
    [window, true],
    [-window - 1000, false],
    [window + 1000, false],
  ])('of %i ms from ours holds: %s', async (offset, holds) => {
    const header = await signRequest(toSign(agent, { now: plus(NOW, offset) }))
    const run = verifySignedRequest(header, toVerify())
    if (holds) return void (await run)
    const error = await run.catch((e: unknown) => e)
    expect(isAppError(error) && error.code).toBe('ERR_CLOCK')
    expect(isAppError(error) && error.details?.serverTime).toBe(NOW)
  })

  test('is only told to somebody whose signature holds', async () => {
    const thief = keySigner(generateKey().privateKey)
    const header = await signRequest(toSign(agent, { signer: thief, now: plus(NOW, 10 * window) }))
    expect((await failure(() => verifySignedRequest(header, toVerify())))?.code).toBe(
      'ERR_PROOF_INVALID',
    )
  })
})

describe('a header is refused', () => {
  const x5c = () => [agent.certificate.raw.toString('base64')]
  const claims = {
    m: 'POST',
    o: ORIGIN,
    p: '/',
    bh: 'x',
    iat: NOW / 1000,
    aud: CLUSTER,
    jti: 'A'.repeat(22),
  }
  const TYP = 'postern-request+jws'

  test.each<[string, () => Promise<string> | string]>([
    ['that is empty', () => ''],
    [
      'of another scheme',
      async () => (await signRequest(toSign(agent))).replace('Postern', 'Bearer'),
    ],
    ['with more behind it', async () => (await signRequest(toSign(agent))) + ' x'],
    ['above its limit', () => `Postern ${'a'.repeat(LIMITS.signedRequest.value)}`],
    ['with two parts', () => 'Postern a.b'],
    ['with a thousand dots', () => `Postern ${'.'.repeat(1000)}`],
    [
      'of another typ',
      async () => `Postern ${await jwsSign(agent.signer, { typ: 'JWT', x5c: x5c() }, claims)}`,
    ],
    ['without x5c', async () => `Postern ${await jwsSign(agent.signer, { typ: TYP }, claims)}`],
    [
      'with a chain',
      async () =>
        `Postern ${await jwsSign(agent.signer, { typ: TYP, x5c: [...x5c(), ...x5c()] }, claims)}`,
    ],
    [
      'with a jwk',
      async () =>
        `Postern ${await jwsSign(agent.signer, { typ: TYP, x5c: x5c(), jwk: {} }, claims)}`,
    ],
    [
      'with crit',
      async () =>
        `Postern ${await jwsSign(agent.signer, { typ: TYP, x5c: x5c(), crit: ['b64'], b64: false }, claims)}`,
    ],
    [
      'with a claim too many',
      async () =>
        `Postern ${await jwsSign(agent.signer, { typ: TYP, x5c: x5c() }, { ...claims, admin: true })}`,
    ],
    [
      'without jti',
      async () =>
        `Postern ${await jwsSign(agent.signer, { typ: TYP, x5c: x5c() }, { ...claims, jti: undefined })}`,
    ],
    [
      'whose time is a text',
      async () =>
        `Postern ${await jwsSign(agent.signer, { typ: TYP, x5c: x5c() }, { ...claims, iat: '1' })}`,
    ],
    [
      'with alg none',
      async () => {
        const none = Buffer.from(JSON.stringify({ alg: 'none', typ: TYP, x5c: x5c() })).toString(
          'base64url',
        )
        return `Postern ${none}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.AA`
      },
    ],
  ])('%s', async (_name, make) => {
    const header = await make()
    expect((await failure(() => verifySignedRequest(header, toVerify())))?.code).toBe(
      'ERR_PROOF_INVALID',
    )
  })
})

test('the largest user certificate still fits into a signed request', async () => {
  const { issueCertificate } = await import('../../../core/certs/x509.ts')
  const { readCertificate } = await import('../../../core/certs/x509-read.ts')
  const { userExtension, userUri } = await import('../../../core/certs/identity.ts')
  const traits = Object.fromEntries(
    Array.from({ length: 15 }, (_, i) => [`t${i}`, ['x'.repeat(256)]]),
  )
  const user = 'u'.repeat(128)
  const der = await issueCertificate({
    subject: user,
    publicKey: alice.signer.publicKey,
    issuer: userCa,
    notBefore: NOW,
    notAfter: plus(NOW, 60_000),
    uris: [userUri(CLUSTER, user)],
    usage: ['client'],
    extension: userExtension({ roles: ['dev'], traits, logins: ['dev'] }),
  })
  const header = await signRequest(
    toSign({ signer: alice.signer, certificate: readCertificate(der) }),
  )
  const { identity } = await verifySignedRequest(header, toVerify())
  expect(identity).toMatchObject({ kind: 'user', user })
})

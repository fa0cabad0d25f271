/** The first operator of a deployed cluster: behind the gateway's IAM authorizer, and closed wherever its word is missing. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LambdaContext } from 'hono/aws-lambda'
import { bootstrapAnswer, HOST_CA_PATH } from '../../core/api/bootstrap.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { createCaCertificate } from '../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../core/certs/x509-read.ts'
import { plus, systemClock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import { silentLog } from '../../core/log.ts'
import { systemRandom } from '../../core/random.ts'
import { lambdaHandler } from '../../functions/lambda.ts'
import { bootstrapRoutes } from '../../functions/routes/bootstrap.ts'
import { caCertificateRoutes } from '../../functions/routes/ca-certificate.ts'
import { openLocalStores } from '../../functions/local-store.ts'
import { createSetup } from '../../functions/verb.ts'

const clock = systemClock
const random = systemRandom
const signers = {
  host: keySigner(generateKey().privateKey),
  user: keySigner(generateKey().privateKey),
  policy: keySigner(generateKey().privateKey),
}
const ACCOUNT = '123456789012'
const ARN = `arn:aws:sts::${ACCOUNT}:assumed-role/Admin/ann`
const IAM = { iam: { userArn: ARN, accountId: ACCOUNT } }
const opening = () =>
  openLocalStores({ path: undefined, cursorKey: random.bytes(32), clock, random, log: silentLog })
let opened: Awaited<ReturnType<typeof opening>>
beforeEach(async () => {
  opened = await opening()
})
afterEach(() => opened.close())

async function call(path: string, body?: unknown, authorizer: unknown = IAM, account = ACCOUNT) {
  const deps = { clock, random, log: silentLog }
  const setup = path.endsWith('-ca')
    ? createSetup(
        { ...deps, ca: { path: HOST_CA_PATH, commonName: 'Host CA', signer: signers.host } },
        caCertificateRoutes,
      )
    : createSetup(
        {
          ...deps,
          cluster: 'cloud.example',
          stores: opened.stores,
          keys: {
            host: signers.host.publicKey,
            user: signers.user.publicKey,
            policy: signers.policy.publicKey,
          },
        },
        bootstrapRoutes,
      )
  const handler = lambdaHandler(silentLog, async () => setup)
  const event = {
    version: '2.0',
    routeKey: `POST ${path}`,
    rawPath: path,
    rawQueryString: '',
    headers: { host: 'api.test', 'content-type': 'application/json' },
    requestContext: {
      http: { method: 'POST', path, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: '' },
      domainName: 'api.test',
      stage: '$default',
      ...(authorizer === null ? {} : { authorizer }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
    isBase64Encoded: false,
  }
  const context = { invokedFunctionArn: `arn:aws:lambda:eu-west-1:${account}:function:x` }
  const answer = (await handler(event as never, context as LambdaContext)) as {
    statusCode: number
    body: string
  }
  return { status: answer.statusCode, body: JSON.parse(answer.body) as Record<string, unknown> }
}
const ca = async (signer = signers.host, name = 'CA') => {
  const now = clock.now()
  return toPem(
    await createCaCertificate({
      name,
      signer,
      notBefore: plus(now, -60_000),
      notAfter: plus(now, 86_400_000),
    }),
  )
}
const request = async () => ({
  user: 'ann',
  logins: ['ann'],
  host_ca: await ca(),
  user_ca: await ca(signers.user),
})

test('the first call makes the cluster, its roles, the user and a key; a second makes another key', async () => {
  const first = await call('/v1/bootstrap', await request())
  expect(first.status).toBe(200)
  const one = bootstrapAnswer.parse(first.body)
  expect(one).toMatchObject({ cluster: 'cloud.example', created: true, user: 'ann' })
  expect((await opened.stores.roles.list()).map((r) => r.name)).toContain('access')
  const two = bootstrapAnswer.parse((await call('/v1/bootstrap', { user: 'ann' })).body)
  expect(two).toMatchObject({ created: false, ca_pins: one.ca_pins })
  expect(two.operator_key).not.toBe(one.operator_key)
})

test('the audit log names the AWS identity that asked', async () => {
  await call('/v1/bootstrap', await request())
  const { items } = await opened.stores.events.list({ limit: 10 })
  expect(items[0]).toMatchObject({
    type: 'operator.bootstrap',
    fields: { arn: ARN, ip: '192.0.2.1' },
  })
})

test('a new cluster asks for the certificates of its CAs', async () => {
  const answer = await call('/v1/bootstrap', { user: 'ann' })
  expect(answer).toMatchObject({ status: 503, body: { code: 'ERR_CLUSTER_NEW' } })
  expect(await opened.stores.cluster.get()).toBeUndefined()
})

describe('a CA is believed only for its key', () => {
  test.each<[string, () => Promise<string>]>([
    ['of another key', () => ca(keySigner(generateKey().privateKey))],
    ['of the user CA', () => ca(signers.user)],
    ['that is none', async () => 'no certificate'],
    [
      'signed by another',
      async () => {
        const pem = await ca()
        const der = Buffer.from(readCertificate(pem).raw)
        der[der.length - 1] = (der[der.length - 1] ?? 0) ^ 1
        return toPem(der)
      },
    ],
  ])('not one %s', async (_what, make) => {
    const answer = await call('/v1/bootstrap', { ...(await request()), host_ca: await make() })
    expect(answer).toMatchObject({ status: 400, body: { code: 'ERR_INPUT_INVALID' } })
    expect(await opened.stores.cluster.get()).toBeUndefined()
  })
})

// What it stops: a route deployed without its authorizer, or a server without a gateway, handing out operator keys.
describe('without the word of the gateway nobody is a deployer', () => {
  test.each<[string, unknown, string]>([
    ['no authorizer', null, ACCOUNT],
    ['a JWT authorizer', { jwt: { claims: { sub: 'ann' } } }, ACCOUNT],
    ['no ARN', { iam: { accountId: ACCOUNT } }, ACCOUNT],
    ['another account', IAM, '210987654321'],
    ['an unknown account of its own', IAM, 'x'],
  ])('%s', async (_what, authorizer, account) => {
    for (const path of ['/v1/bootstrap', HOST_CA_PATH]) {
      const answer = await call(path, await request(), authorizer, account)
      expect(answer).toMatchObject({ status: 403, body: { code: 'ERR_FORBIDDEN' } })
    }
    expect(await opened.stores.apiKeys.list({}, clock.now())).toMatchObject({ items: [] })
  })
})

test('the verb that holds a CA key certifies it, and nothing else', async () => {
  const answer = await call(HOST_CA_PATH)
  const certificate = readCertificate(String(answer.body['certificate']))
  expect(certificate.isCa).toBe(true)
  expect(certificate.publicKey.equals(signers.host.publicKey)).toBe(true)
})

describe('a function that cannot start', () => {
  const event = (path: string) =>
    ({
      version: '2.0',
      rawPath: path,
      rawQueryString: '',
      headers: { host: 'api.test' },
      requestContext: {
        http: { method: 'GET', path, sourceIp: '192.0.2.1' },
        domainName: 'a.test',
      },
      isBase64Encoded: false,
    }) as never
  const run = async (handler: ReturnType<typeof lambdaHandler>, path = '/v1/ping') =>
    (await handler(event(path), {} as LambdaContext)) as { statusCode: number; body: string }

  test('says so with its code, and starts as soon as it can', async () => {
    let ready = false
    const handler = lambdaHandler(silentLog, async () => {
      if (!ready) throw new AppError('ERR_CLUSTER_NEW')
      const app = createSetup({ clock, random, log: silentLog }, () => undefined)
      app.get('/v1/ping', (c) => c.json({ ok: true }))
      app.get('/v1/users/:name', (c) => c.json({ name: c.req.param('name') }))
      return app
    })
    const early = await run(handler)
    expect(early.statusCode).toBe(503)
    expect(JSON.parse(early.body)).toMatchObject({ code: 'ERR_CLUSTER_NEW' })
    ready = true
    expect((await run(handler)).statusCode).toBe(200)
    // HTTP APIs hand on the path decoded.
    for (const name of ['ann@example.com', 'a b', 'a#b', 'a%b', 'é'])
      expect(JSON.parse((await run(handler, `/v1/users/${name}`)).body)).toEqual({ name })
  })
})

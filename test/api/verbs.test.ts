/** One function, one verb: behind API Gateway each serves its own routes and has only what they need. */
import { handle } from 'hono/aws-lambda'
import { afterAll, expect, test } from 'vitest'
import { createVerb } from '../../functions/verb.ts'
import { joinRoutes } from '../../functions/routes/join.ts'
import { createRateLimiter } from '../../functions/middleware/rate-limit.ts'
import { generateKey } from '../../core/certs/signer.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { joinKeyOf } from '../../core/join/sealed-call.ts'
import { silentLog } from '../../core/log.ts'
import { createSealer } from '../../core/seal.ts'
import { systemRandom } from '../../core/random.ts'
import { openWorld, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())
const unused = {} as never
const app = createVerb(
  {
    cluster: 'test.internal',
    version: '0',
    origins: () => [],
    proxies: () => [],
    cas: { now: unused, states: [], refresh: async () => undefined },
    clock: world.clock,
    random: systemRandom,
    log: silentLog,
    limiter: createRateLimiter(world.clock),
    hostCa: unused,
    sts: unused,
    iidKeys: unused,
    arm: unused,
    reviewer: unused,
    azureSigningKeys: unused,
    issuerKeys: unused,
    joinKey: joinKeyOf(new Uint8Array(32)),
    challengeSealer: createSealer(systemRandom.bytes(32)),
    stores: unused,
  },
  joinRoutes,
)
const invoke = async (method: string, path: string, body?: string, headers = {}) => {
  const event = {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: '',
    headers: { host: 'gate.test', 'content-type': 'application/json', ...headers },
    requestContext: {
      http: { method, path, protocol: 'HTTP/1.1', sourceIp: '192.0.2.77', userAgent: '' },
      domainName: 'gate.test',
      stage: '$default',
      requestId: 'r',
    },
    body,
    isBase64Encoded: false,
  }
  const answer = await handle(app)(event as never, {} as never)
  return answer as { statusCode: number; body: string; headers: Record<string, string> }
}
const ask = () =>
  JSON.stringify({
    method: 'token',
    token: 'x',
    service: 'ssh',
    enrolment_key: encodeKey(generateKey().publicKey),
    service_key: encodeKey(generateKey().publicKey),
  })

test('an HTTP API event (payload 2.0) reaches the routes', async () => {
  const answer = await invoke('POST', '/v1/join/challenge', ask())
  expect(answer.statusCode).toBe(200)
  expect(JSON.parse(answer.body)).toHaveProperty('challenge')
})

test('the routes of another verb are not there', async () => {
  for (const path of ['/v1/tokens', '/v1/login/password', '/v1/policy', '/v1/ca'])
    expect((await invoke('POST', path, '{}')).statusCode).toBe(404)
})

// A caller must not choose the address that its rate is counted on, nor the one in the audit log.
test('the address is the one that API Gateway saw, whatever a header claims', async () => {
  let last = 0
  for (let i = 0; i < 605; i++)
    last = (
      await invoke('POST', '/v1/join/challenge', '{}', { 'x-forwarded-for': `10.0.0.${i % 250}` })
    ).statusCode
  expect(last).toBe(429)
})

/** Rates: each address, each caller, each join token for itself, an answer that says when to come back, and no way around by a header. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { tokenSecretHash } from '../../core/domain/token-secret.ts'
import { generateKey } from '../../core/certs/signer.ts'
import { encodeKey } from '../../core/join/messages.ts'
import { verbApp, sourceIp, type VerbApp } from '../../functions/http.ts'
import { lambdaHandler } from '../../functions/lambda.ts'
import { LIMITS } from '../../core/limits.ts'
import { silentLog } from '../../core/log.ts'
import type { RateLimiter } from '../../functions/middleware/rate-limit.ts'
import { joined, mint, tryJoin } from './support/machine.ts'
import { codeOf, itemsOf, openWorld, type Answer, type World } from './support/world.ts'

let world: World
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.close())

/** Takes all that a minute has, in one go. */
function drain(scope: Parameters<RateLimiter['take']>[0], key: string): void {
  const { limiter } = world
  for (;;)
    try {
      limiter.take(scope, key)
    } catch {
      return
    }
}
/** The app as a function behind API Gateway, which says that the caller is 203.0.113.1; answers what `/ip` said. */
function handlerOf(app: VerbApp) {
  const handle = lambdaHandler(silentLog, () => Promise.resolve(app))
  return async (headers: Record<string, string>): Promise<unknown> => {
    const event = {
      version: '2.0',
      routeKey: '$default',
      rawPath: '/ip',
      rawQueryString: '',
      headers,
      requestContext: { http: { method: 'GET', path: '/ip', sourceIp: '203.0.113.1' } },
      isBase64Encoded: false,
    }
    const answer = (await handle(event as never, {} as never)) as { body: string }
    return (JSON.parse(answer.body) as { ip: string }).ip
  }
}
const limited = (answer: Answer): void => {
  expect(codeOf(answer)).toBe('ERR_RATE_LIMITED')
  expect(answer.status).toBe(429)
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
}
const ask = (ip: string, headers = {}) =>
  world.call('POST', '/v1/join/challenge', {
    ip,
    headers,
    body: {
      method: 'token',
      token: 'x',
      service: 'ssh',
      enrolment_key: encodeKey(generateKey().publicKey),
      service_key: encodeKey(generateKey().publicKey),
    },
  })

describe('an address', () => {
  test('has exactly as many calls a minute as the limit says, and then one more each time it refills', async () => {
    const ip = '203.0.113.9'
    const max = LIMITS.rateAnonymousPerMinute.value
    // All but one.
    for (let i = 1; i < max; i++) world.limiter.take('anonymous', ip)
    // Calls pass time on by a millisecond, which is a hundredth of a refill.
    expect((await ask(ip)).status).toBe(200)
    limited(await ask(ip))
    world.clock.advance(Math.ceil(60_000 / max))
    expect((await ask(ip)).status).toBe(200)
    limited(await ask(ip))
  })
  test('of IPv6 is its /64, and IPv4 in IPv6 clothes is itself', async () => {
    drain('anonymous', '2001:db8:1:2::1')
    limited(await ask('2001:db8:1:2:ffff:ffff:ffff:ffff'))
    expect((await ask('2001:db8:1:3::1')).status).toBe(200)
    drain('anonymous', '203.0.113.4')
    limited(await ask('::ffff:203.0.113.4'))
  })
  test('behind the gateway is the one that the gateway saw (CVE-2026-59897, hono): no header adds, drops or replaces it', async () => {
    const app = verbApp()
    app.get('/ip', (c) => c.json({ ip: sourceIp(c) }))
    const behind = handlerOf(app)
    for (const headers of [
      {},
      { 'x-forwarded-for': '198.51.100.7' },
      { 'x-forwarded-for': '198.51.100.7, 203.0.113.1', forwarded: 'for=198.51.100.7' },
      { 'x-real-ip': '198.51.100.7', 'true-client-ip': '198.51.100.7' },
    ])
      expect(await behind(headers)).toBe('203.0.113.1')
  })
  test('that calls too often is told when to come back, others go on', async () => {
    drain('anonymous', '203.0.113.1')
    limited(await ask('203.0.113.1'))
    limited(await ask('203.0.113.1', { 'x-forwarded-for': '198.51.100.7' }))
    expect((await ask('203.0.113.2')).status).toBe(200)
    world.clock.advance(1000)
    expect((await ask('203.0.113.1')).status).toBe(200)
  })
  test('that guesses keys is slowed; who has one calls on from there', async () => {
    drain('anonymous', '203.0.113.1')
    const call = (key: string) =>
      world.call('GET', '/v1/whoami', {
        ip: '203.0.113.1',
        headers: { authorization: `Bearer ${key}` },
      })
    limited(await call(`pst_key_${'A'.repeat(43)}`))
    limited(await call('a.b.c'))
    expect((await call(world.operatorKey)).status).toBe(200)
  })
})

describe('a caller', () => {
  test('that calls too often is slowed, by key and not by owner; another key goes on', async () => {
    const made = await world.op('POST', '/v1/keys', {
      name: 'busy',
      scopes: [{ resources: ['token'], verbs: ['list'] }],
    })
    const { id, secret } = made.body as { id: string; secret: string }
    drain('caller', `key/${id}`)
    const list = () =>
      world.call('GET', '/v1/tokens', { headers: { authorization: `Bearer ${secret}` } })
    limited(await list())
    expect((await world.op('GET', '/v1/tokens')).status).toBe(200)
    world.clock.advance(1000)
    expect((await list()).status).toBe(200)
  })
  test('with a certificate is slowed by its name, whatever its address', async () => {
    const ann = await world.user('ann', ['access'])
    drain('caller', 'user/ann')
    limited(await world.as(ann, 'GET', '/v1/whoami'))
    const bob = await world.user('bob', ['access'])
    expect((await world.as(bob, 'GET', '/v1/whoami')).status).toBe(200)
  })
  test('that is slowed leaves no event behind: a flood is not a way to fill the log', async () => {
    const ann = await world.user('ann', ['access'])
    drain('caller', 'user/ann')
    for (let i = 0; i < 5; i++) await world.as(ann, 'GET', '/v1/users')
    const events = await world.op('GET', '/v1/events?type=operator.refused')
    expect(itemsOf(events)).toEqual([])
  })
})

describe('a join token', () => {
  test('is tried exactly as often a minute as the limit says, from however many addresses', async () => {
    const secret = await mint(world, { max_uses: 50 })
    const max = LIMITS.rateTokenPerMinute.value
    for (let i = 1; i < max; i++) world.limiter.take('token', tokenSecretHash(secret))
    await joined(world, { secret, node: 'last', ip: '203.0.113.1' })
    limited(await tryJoin(world, { secret, node: 'late', ip: '203.0.113.2' }))
  })
  test('that is joined with too often admits nobody for a moment, and no event tells of each', async () => {
    const secret = await mint(world, { max_uses: 5 })
    await joined(world, { secret, node: 'first' })
    drain('token', tokenSecretHash(secret))
    limited(await tryJoin(world, { secret, node: 'second' }))
    const other = await mint(world)
    await joined(world, { secret: other, node: 'third' })
    const events = await world.op('GET', '/v1/events?type=agent.join')
    expect(itemsOf(events)).toHaveLength(2)
    world.clock.advance(1000)
    await joined(world, { secret, node: 'second' })
  })
})

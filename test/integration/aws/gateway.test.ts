/**
 * What API Gateway says by itself, and what our clients make of it: the front of the rehearsal alone, before a function that does what a
 * test asks. Its answers have no problem document and no retry-after.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isAppError, type AppError } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import { systemRandom } from '../../../core/random.ts'
import { retrying } from '../../../agent/retry.ts'
import { apiClient, type ApiClient } from '../../../net/http-client.ts'
import {
  BODY_MAX,
  HEADERS_MAX,
  httpApi,
  INTEGRATION_MS,
  type HttpApi,
} from '../../support/aws/http-api.ts'
import type { Invocation } from '../../support/aws/lambda.ts'
import { handClock } from '../../support/clock.ts'

interface Event {
  readonly rawPath: string
  readonly headers: Readonly<Record<string, string>>
  readonly requestContext: { readonly stage: string; readonly http: { readonly method: string } }
}
type Reply = { statusCode: number; headers?: Record<string, string>; body: string }

/** Time of the gateway, and of the client. */
const gateway = handClock()
let time = handClock()
let front: HttpApi
let client: ApiClient
let events: Event[] = []
let reply: () => Reply | Promise<Reply>
const ok = (): Reply => ({ statusCode: 200, body: '{"ok":true}' })

function deploy(throttle = { rate: 1_000, burst: 1_000 }): void {
  front.deploy({
    routes: [{ key: '$default', functionArn: 'arn', iam: false }],
    throttle,
    lambda: {
      async invoke(_, event): Promise<Invocation> {
        events.push(event as Event)
        return { kind: 'answer', value: await reply(), ms: 1 }
      },
    },
  })
}
beforeEach(async () => {
  front = await httpApi(gateway)
  time = handClock()
  events = []
  reply = ok
  deploy()
  client = apiClient({
    baseUrl: front.url,
    trust: { system: false, ca: [front.ca] },
    clock: time,
    patience: LIMITS.callPatience.value,
  })
})
afterEach(async () => {
  client.close()
  await front.close()
})

const turn = () => new Promise((resolve) => setImmediate(resolve))
/** Lets a call go on, and its pauses pass as soon as it waits in one; the pauses that it made. */
async function passing<T>(
  work: Promise<T>,
): Promise<{ result: PromiseSettledResult<T>; pauses: number[] }> {
  const pauses: number[] = []
  let result: PromiseSettledResult<T> | undefined
  const done = Promise.allSettled([work]).then(([settled]) => (result = settled))
  while (result === undefined) {
    await turn()
    // Deadlines of connections and calls are longer than any pause here.
    const { next } = time
    if (next >= LIMITS.dialTimeout.value) continue
    pauses.push(next)
    gateway.advance(next)
    time.advance(next)
  }
  await done
  return { result, pauses }
}
const refusalOf = (result: PromiseSettledResult<unknown>): AppError => {
  if (result.status === 'rejected' && isAppError(result.reason)) return result.reason
  throw new Error(`it was not refused: ${JSON.stringify(result)}`)
}
const statuses = () => front.log.map(({ status }) => status)

describe('throttled', () => {
  test('a command waits, with jitter, and gets its answer; the function sees each call once', async () => {
    deploy({ rate: 1, burst: 2 })
    const calls = await passing(
      Promise.all([1, 2, 3, 4].map((i) => client.request('POST', `/v1/x/${i}`, {}))),
    )
    expect(calls.result.status).toBe('fulfilled')
    expect(events.map(({ rawPath }) => rawPath).sort()).toEqual([
      '/v1/x/1',
      '/v1/x/2',
      '/v1/x/3',
      '/v1/x/4',
    ])
    expect(statuses().filter((s) => s === 429).length).toBeGreaterThanOrEqual(2)
    expect(new Set(calls.pauses).size).toBeGreaterThan(1)
  })
  test('a flood that does not end: one sentence, after the patience of a command', async () => {
    deploy({ rate: 0, burst: 0 })
    const { result, pauses } = await passing(client.request('GET', '/v1/nodes'))
    const error = refusalOf(result)
    expect(error).toMatchObject({ code: 'ERR_RATE_LIMITED', message: 'Too many requests' })
    expect(error.kind.hint).toMatch(/try again/)
    expect(events).toEqual([])
    expect(pauses.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(LIMITS.callPatience.value)
  })
  test('the time that the API itself names is kept, and a second of jitter', async () => {
    let asked = 0
    reply = () =>
      ++asked > 1
        ? ok()
        : {
            statusCode: 429,
            headers: { 'retry-after': '3', 'content-type': 'application/problem+json' },
            body: JSON.stringify({ code: 'ERR_RATE_LIMITED' }),
          }
    const { result, pauses } = await passing(client.request('GET', '/v1/nodes'))
    expect(result.status).toBe('fulfilled')
    expect(pauses).toHaveLength(1)
    expect(pauses[0]).toBeGreaterThanOrEqual(3_000)
    expect(pauses[0]).toBeLessThan(4_000)
  })
  test('one that names a longer time than a command waits for is told at once', async () => {
    reply = () => ({ statusCode: 429, headers: { 'retry-after': '60' }, body: '{}' })
    const { result, pauses } = await passing(client.request('GET', '/v1/nodes'))
    expect(refusalOf(result).details).toMatchObject({ retryAfter: 60 })
    expect(pauses).toEqual([])
  })
})

describe('no answer from the function', () => {
  test('after thirty seconds the gateway says so; what may have been done is not done again', async () => {
    reply = () => new Promise(() => undefined)
    const call = client.request('POST', '/v1/tokens', {})
    const failed = expect(call).rejects.toMatchObject({
      code: 'ERR_GATEWAY',
      message: 'The control plane does not answer; what is in front of it does',
    })
    while (events.length === 0) await turn()
    gateway.advance(INTEGRATION_MS - 1)
    expect(statuses()).toEqual([])
    gateway.advance(1)
    await failed
    expect(statuses()).toEqual([503])
    expect(events).toHaveLength(1)
  })
  test('a question is asked once more', async () => {
    front.down = true
    const { result, pauses } = await passing(client.request('GET', '/v1/nodes'))
    expect(refusalOf(result).code).toBe('ERR_GATEWAY')
    expect(pauses).toHaveLength(1)
    expect(statuses()).toEqual([503, 503])
  })
})

// The retry policy of joins and renewals (agent/enrolment.ts), which never give up on what passes by itself.
describe('an agent', () => {
  const own = (status: number, message: string) => (): Reply => ({
    statusCode: status,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ message }),
  })
  async function join(replies: (() => Reply)[]) {
    reply = () => (replies.shift() ?? ok)()
    const patient = apiClient({
      baseUrl: front.url,
      trust: { system: false, ca: [front.ca] },
      clock: time,
    })
    const codes: string[] = []
    const work = retrying(() => patient.request('POST', '/v1/join/challenge', {}), {
      clock: time,
      random: systemRandom,
      signal: new AbortController().signal,
      onRetry: (error) => codes.push(error.code),
    })
    const { result, pauses } = await passing(work)
    patient.close()
    return { result, pauses, codes }
  }
  test('tries again after 429, 502, 503 and 504 of a gateway, with growing pauses', async () => {
    const { result, pauses, codes } = await join([
      own(429, 'Too Many Requests'),
      own(502, 'Bad Gateway'),
      own(503, 'Service Unavailable'),
      own(504, 'Endpoint request timed out'),
    ])
    expect(result.status).toBe('fulfilled')
    expect(codes).toEqual(['ERR_RATE_LIMITED', 'ERR_GATEWAY', 'ERR_GATEWAY', 'ERR_GATEWAY'])
    for (const [i, pause] of pauses.entries()) {
      expect(pause).toBeGreaterThan(0)
      expect(pause).toBeLessThanOrEqual(LIMITS.backoffMin.value * 2 ** i)
    }
  })
  test('does not try again what a gateway forbids', async () => {
    const { result, pauses } = await join([own(403, 'Forbidden')])
    expect(refusalOf(result).code).toBe('ERR_FORBIDDEN')
    expect(pauses).toEqual([])
  })
})

describe('what passes through', () => {
  const raw = async (path: string, init: { headers?: Record<string, string>; body?: string }) => {
    const bearer = apiClient({
      baseUrl: front.url,
      trust: { system: false, ca: [front.ca] },
      sign: () => init.headers ?? {},
    })
    try {
      return await bearer.request('POST', path, init.body).catch((e: unknown) => e as AppError)
    } finally {
      bearer.close()
    }
  }
  test('the largest signed request does, with the headers of our client; a gateway refuses more', async () => {
    const authorization = 'P'.repeat(LIMITS.signedRequest.value)
    expect(await raw('/v1/agents/self/resources?x=1', { headers: { authorization } })).toEqual({
      ok: true,
    })
    expect(front.largestHeaders()).toBeLessThanOrEqual(HEADERS_MAX)
    const refused = await raw('/v1/x', { headers: { authorization: 'P'.repeat(HEADERS_MAX) } })
    expect(refused).toMatchObject({ code: 'ERR_INPUT_TOO_LARGE' })
    expect(events).toHaveLength(1)
  })
  test('every body that a function takes does', async () => {
    expect(LIMITS.httpBody.value).toBeLessThan(BODY_MAX)
    expect(await raw('/v1/x', { body: 'x'.repeat(LIMITS.httpBody.value - 2) })).toEqual({
      ok: true,
    })
    const refused = await raw('/v1/x', { body: 'x'.repeat(BODY_MAX) })
    expect(refused).toMatchObject({ code: 'ERR_INPUT_TOO_LARGE' })
    expect(events).toHaveLength(1)
  })
  test('a path does without the name of a stage, decoded', async () => {
    await client.request('GET', '/v1/users/bob%40example.com?limit=1')
    expect(events[0]).toMatchObject({
      rawPath: '/v1/users/bob@example.com',
      requestContext: { stage: '$default' },
    })
  })
})

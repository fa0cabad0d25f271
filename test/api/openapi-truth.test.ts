/**
 * The OpenAPI document against the API itself: of every operation what it calls valid is taken, each field that it calls required
 * is missed by name, each object that it calls closed refuses one field more, and every status is one that it tells of.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../core/limits.ts'
import { OPERATIONS } from '../../functions/openapi/operations.ts'
import { WITH_QUERY } from '../../functions/queries.ts'
import { samplesFor, type Sample } from './support/samples.ts'
import { codeOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

interface Schema {
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly additionalProperties?: unknown
  readonly const?: unknown
}
interface Described {
  readonly parameters?: readonly { name: string; in: string }[]
  readonly requestBody?: { content: Record<string, { schema: Schema }> }
  readonly responses: Readonly<Record<string, unknown>>
}
type Json = Record<string, unknown>

let world: World
let samples: readonly Sample[] = []
let paths: Readonly<Record<string, Readonly<Record<string, Described>>>> = {}
beforeAll(async () => {
  world = await openWorld()
  samples = await samplesFor(world)
  const document = await world.call('GET', '/v1/openapi.json')
  paths = (document.body as { paths: typeof paths }).paths
})
afterAll(() => world.close())

const described = (operation: string): Described => {
  const [method = '', path = ''] = operation.split(' ')
  const found = paths[path]?.[method]
  if (!found) throw new Error(`${operation} is not described`)
  return found
}
const bodyOf = (operation: string): Schema | undefined =>
  described(operation).requestBody?.content['application/json']?.schema

/** Statuses seen so far, by operation. */
const seen = new Map<string, Set<number>>()
function note(operation: string, answer: Answer): Answer {
  const statuses = seen.get(operation) ?? new Set()
  seen.set(operation, statuses.add(answer.status))
  return answer
}
async function send(sample: Sample, change: Partial<Sample> & { raw?: string } = {}) {
  const { operation, url, body, by } = { ...sample, ...change }
  const method = (operation.split(' ')[0] ?? '').toUpperCase()
  const answer =
    change.raw !== undefined
      ? await world.call(method, url, {
          raw: change.raw,
          headers: { authorization: `Bearer ${world.operatorKey}` },
        })
      : by === undefined
        ? await world.op(method, url, body)
        : by === 'anyone'
          ? await world.call(method, url, { body })
          : await world.as(by, method, url, body)
  return note(operation, answer)
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The branch of a union that a value is of: all of its constants fit, and it knows all of the value's fields. */
function branch(schema: Schema, value: unknown): Schema {
  const options = schema.anyOf ?? schema.oneOf
  if (!options) return schema
  const fits = options.find((option) => {
    if (!isObject(value) || !option.properties) return false
    const known = Object.entries(option.properties)
    return (
      Object.keys(value).every((name) => name in (option.properties ?? {})) &&
      known.every(([name, inner]) => inner.const === undefined || value[name] === inner.const)
    )
  })
  return fits ?? {}
}

/** Every object in the value that the schema describes, with its path. */
function objects(
  schema: Schema,
  value: unknown,
  path: readonly string[] = [],
): [Schema, string[]][] {
  const own = branch(schema, value)
  if (Array.isArray(value))
    return value.flatMap((item, i) =>
      own.items ? objects(own.items, item, [...path, String(i)]) : [],
    )
  if (!isObject(value) || !own.properties) return []
  const inner = Object.entries(own.properties).flatMap(([name, property]) =>
    name in value ? objects(property, value[name], [...path, name]) : [],
  )
  return [[own, [...path]], ...inner]
}

function changed(value: unknown, path: readonly string[], change: (at: Json) => void): unknown {
  const copy = structuredClone(value)
  let at = copy as Json
  for (const part of path) at = at[part] as Json
  change(at)
  return copy
}

test('there is a valid call for every operation', () => {
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  )
  const sampled = new Set(samples.map(({ operation }) => operation))
  // Files are no JSON, and have test/api/install.test.ts.
  expect(all.filter((operation) => !sampled.has(operation)).sort()).toEqual([
    'get /install.sh',
    'get /v1/agent/{file}',
  ])
})

test('each required field that is missing is named, each object refuses a field that it does not know', async () => {
  const wrong: string[] = []
  let sent = 0
  for (const sample of samples) {
    const schema = bodyOf(sample.operation)
    if (!schema || sample.body === undefined) continue
    const told = async (what: string, path: string[], body: unknown): Promise<void> => {
      sent += 1
      const answer = await send(sample, { body })
      const paths = pathsOf(answer)
      if (codeOf(answer) !== 'ERR_INPUT_INVALID' || !paths.includes(path.join('.')))
        wrong.push(`${sample.operation} ${what} ${path.join('.')}: ${answer.text}`)
    }
    for (const [object, path] of objects(schema, sample.body)) {
      for (const name of object.required ?? [])
        await told(
          'without',
          [...path, name],
          changed(sample.body, path, (at) => delete at[name]),
        )
      if (object.additionalProperties === false)
        await told(
          'with',
          [...path, 'surplus'],
          changed(sample.body, path, (at) => void (at['surplus'] = 1)),
        )
    }
  }
  expect(wrong).toEqual([])
  expect(sent).toBeGreaterThan(90)
})

test('what it calls valid is taken, and answered in the shape that it promises', async () => {
  for (const sample of samples) {
    const answer = await send(sample)
    expect(answer.status, `${sample.operation}: ${answer.text}`).toBe(sample.status)
    const [method, path] = sample.operation.split(' ')
    const { output } = OPERATIONS.find((o) => o.method === method && o.path === path) ?? {}
    if (output && answer.status < 300)
      expect(output.safeParse(answer.body).error, sample.operation).toBeUndefined()
  }
})

test('a parameter that a call does not know is refused by name, by every call', async () => {
  for (const sample of samples) {
    const answer = await send(sample, { url: `${sample.url}?surplus=1` })
    expect([sample.operation, pathsOf(answer)]).toEqual([sample.operation, ['surplus']])
  }
  const lists = OPERATIONS.filter(({ query }) => query).map(({ path }) => path)
  expect([...WITH_QUERY].sort()).toEqual([...lists].sort())
})

describe('statuses', () => {
  test('without a credential, with too large a body, of what is not there', async () => {
    const nobody = await world.user('nobody', ['access'])
    for (const sample of samples) {
      const { who, input } = OPERATIONS.find(
        (o) => `${o.method} ${o.path}` === sample.operation,
      ) ?? { who: 'anyone' }
      if (who !== 'anyone') await send(sample, { by: 'anyone' })
      if (input) await send(sample, { raw: 'x'.repeat(LIMITS.httpBody.value + 1) })
      if (who === 'operator') await send(sample, { by: nobody })
      if (who === 'agent' || who === 'agent or proxy') await send(sample, { by: nobody })
      if (who === 'user') await send(sample, { by: await world.proxy() })
      // Now and then, so that nobody's calls are what is counted.
      world.clock.advance(60_000)
    }
    const gone: Record<string, string> = { id: `ag_${'0'.repeat(26)}`, name: 'absent' }
    for (const { method, path, input } of OPERATIONS) {
      if (!path.includes('{')) continue
      const sample = samples.find(({ operation }) => operation === `${method} ${path}`)
      if (!sample) continue
      const url = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => gone[name] ?? '')
      await send(sample, { url, ...(input ? { body: sample.body } : {}) })
    }
  })

  /** Documented, and reached by tests of their own. */
  const ELSEWHERE: Readonly<Record<string, string>> = {
    '429': 'api/limits.test.ts',
    '500': 'a defect of ours, or a store that fails: api/input.test.ts',
    '409': 'races and rotations: api/idempotency, api/join, api/cas, api/resources',
    '200': 'a repeat of what a 201 made: api/resources.test.ts',
    '304': 'api/policy.test.ts',
    '403': 'locks: api/callers.test.ts; joins: api/join.test.ts',
    '404': 'api/login.test.ts, api/resources.test.ts',
    'post /v1/renew: 401': 'a clock that is off: api/renew.test.ts',
    'post /v1/login/password: 401': 'api/login.test.ts',
    '503': 'an issuer that is down: api/id-token-callers.test.ts; nothing online: here',
  }
  test('are all told of, and each that is told of is reached', () => {
    const untold: string[] = []
    const unreached: string[] = []
    for (const [operation, statuses] of seen) {
      const told = Object.keys(described(operation).responses)
      for (const status of statuses)
        if (!told.includes(String(status))) untold.push(`${operation}: ${status}`)
      for (const status of told)
        if (
          !statuses.has(Number(status)) &&
          !(status in ELSEWHERE) &&
          !(`${operation}: ${status}` in ELSEWHERE)
        )
          unreached.push(`${operation}: ${status}`)
    }
    expect({ untold, unreached }).toEqual({ untold: [], unreached: [] })
  })
})

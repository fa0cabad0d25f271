/**
 * The examples of the OpenAPI document are what the samples of these tests send and are answered. With POSTERN_WRITE_EXAMPLES set they
 * are written (`npm run openapi`); without, those that are there are held to what is answered now, field by field.
 */
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { format } from 'prettier'
import { EXAMPLES, type Example } from '../../functions/openapi/examples.ts'
import { OPERATIONS } from '../../functions/openapi/operations.ts'
import { samplesFor } from './support/samples.ts'
import { openWorld, type World } from './support/world.ts'

const WRITE = process.env['POSTERN_WRITE_EXAMPLES'] !== undefined
const FILE = 'functions/openapi/examples.json'
/** A text longer than this is somebody's key, certificate or signature; its beginning says enough. */
const LONG = 160
const KEPT = 48
/** Of a list that long two say what the rest is. */
const ITEMS = 2

/** Without what is good once, and short. */
function shown(value: unknown): unknown {
  if (typeof value === 'string') {
    const text = value.replaceAll(
      /(pst_(?:join|key|reg)_)[A-Za-z0-9_-]{43}/g,
      (_, prefix: string) => `${prefix}${'EXAMPLE'.repeat(7).slice(0, 43)}`,
    )
    return text.length > LONG ? `${text.slice(0, KEPT)}…` : text
  }
  if (Array.isArray(value)) return value.slice(0, ITEMS).map(shown)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shown(one)]))
}

/** The kinds of all fields, without their values: `spec.roles[]: string`. */
function shape(value: unknown, path = ''): string[] {
  if (Array.isArray(value))
    return value.length === 0
      ? [`${path}[]`]
      : [...new Set(value.flatMap((one) => shape(one, `${path}[]`)))].sort()
  if (typeof value !== 'object' || value === null)
    return [`${path}: ${value === null ? 'null' : typeof value}`]
  return Object.entries(value).flatMap(([key, one]) =>
    shape(one, path === '' ? key : `${path}.${key}`),
  )
}

let world: World
const found: Record<string, Example> = {}
/** Of what was answered, whole. */
const shapes: Record<string, string[]> = {}
beforeAll(async () => {
  world = await openWorld()
  for (const { operation, url, body, by, status } of await samplesFor(world)) {
    const method = (operation.split(' ')[0] ?? '').toUpperCase()
    const answer =
      by === undefined
        ? await world.op(method, url, body)
        : by === 'anyone'
          ? await world.call(method, url, { body })
          : await world.as(by, method, url, body)
    expect(answer.status, `${operation}: ${answer.text}`).toBe(status)
    const before = found[operation]
    const told =
      operation !== 'get /v1/openapi.json' && answer.status < 300 && answer.body !== undefined
    if (before?.answer === undefined) shapes[operation] = shape(told ? answer.body : undefined)
    found[operation] = {
      url: before?.url ?? url,
      ...(body === undefined ? {} : { bodies: [...(before?.bodies ?? []), shown(body)] }),
      ...(told ? { answer: before?.answer ?? shown(answer.body) } : {}),
    }
  }
  if (WRITE)
    writeFileSync(FILE, await format(JSON.stringify(found), { parser: 'json', printWidth: 100 }))
})
afterAll(() => world.close())

// What was read is older than what has just been written.
test.skipIf(WRITE)('every operation has an example, but for files', () => {
  const all = OPERATIONS.map(({ method, path }) => `${method} ${path}`)
  expect(all.filter((operation) => !EXAMPLES[operation]).sort()).toEqual([
    'get /install.sh',
    'get /v1/agent/{file}',
  ])
  expect(Object.keys(EXAMPLES).filter((operation) => !all.includes(operation))).toEqual([])
})

test.skipIf(WRITE)('each is of the same fields as what is sent and answered now', () => {
  for (const [operation, example] of Object.entries(found)) {
    const { bodies, answer } = EXAMPLES[operation] ?? { url: '' }
    expect([operation, shape(bodies)]).toEqual([operation, shape(example.bodies)])
    // Lists have no order that is the same each time: what is shown of one is among what there is.
    const now = shapes[operation] ?? []
    const then = shape(answer)
    expect([operation, then.filter((field) => !now.includes(field))]).toEqual([operation, []])
    if (!then.some((field) => field.startsWith('items')))
      expect([operation, [...then].sort()]).toEqual([operation, [...now].sort()])
  }
})

test.skipIf(WRITE)('none holds a secret that was ever good', () => {
  const text = JSON.stringify(EXAMPLES)
  const secrets = text.match(/pst_(?:join|key|reg)_[A-Za-z0-9_-]{43}/g) ?? []
  expect(secrets.length).toBeGreaterThan(0)
  expect(secrets.filter((secret) => !secret.includes('_EXAMPLEEXAMPLE'))).toEqual([])
  expect(text).not.toMatch(/PRIVATE KEY/)
})

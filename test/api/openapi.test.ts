/** The OpenAPI document tells the truth: every route is in it, it names no other, and answers have the shape it promises. */
import { afterAll, expect, test } from 'vitest'
import { createApp } from '../../functions/app.ts'
import type { AppDeps } from '../../functions/deps.ts'
import { OPERATIONS } from '../../functions/openapi/operations.ts'
import { VERSION } from '../../core/version.ts'
import { joined, mint } from './support/machine.ts'
import { openWorld, type World } from './support/world.ts'

const world: World = await openWorld()
afterAll(() => world.close())

interface Document {
  openapi: string
  info: { version: string }
  paths: Record<string, Record<string, { responses: Record<string, unknown>; operationId: string }>>
}
const document = (await world.call('GET', '/v1/openapi.json')).body as Document

test('every route is described, and nothing else is', () => {
  const app = createApp({ stores: {}, cas: { pins: [] } } as unknown as AppDeps)
  const routes = app.routes
    .filter((route) => route.method !== 'ALL')
    .map((route) => `${route.method.toLowerCase()} ${route.path.replace(/:(\w+)/g, '{$1}')}`)
  const described = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  )
  expect(described.sort()).toEqual([...new Set(routes)].sort())
})

test('it is OpenAPI 3.1 of this version with distinct operation ids', () => {
  expect(document).toMatchObject({ openapi: '3.1.0', info: { version: VERSION } })
  const ids = Object.values(document.paths).flatMap((p) =>
    Object.values(p).map((o) => o.operationId),
  )
  expect(new Set(ids).size).toBe(ids.length)
})

test('every reference in it resolves', () => {
  for (const [, path] of JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)) {
    const target = (path ?? '')
      .replace('#/', '')
      .split('/')
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document)
    expect(target, path).toBeDefined()
  }
})

test('what GET calls answer parses with the schema that is described', async () => {
  const agent = await joined(world, { secret: await mint(world, { name: 'one' }), node: 'web-1' })
  await world.as(agent, 'POST', '/v1/agents/self/resources', {
    resources: [{ kind: 'node', name: 'web-1', labels: { env: 'prod' }, hostname: 'web-1.local' }],
  })
  await world.user('ann', ['access'])
  const lock = await world.op('POST', '/v1/locks', { target: { user: 'mallory' }, ttl: '1h' })
  const proxy = await world.proxy()
  const values: Record<string, string> = {
    '/v1/tokens/{name}': 'one',
    '/v1/roles/{name}': 'access',
    '/v1/users/{name}': 'ann',
    '/v1/locks/{name}': (lock.body as { metadata: { name: string } }).metadata.name,
    '/v1/nodes/{name}': 'web-1',
    '/v1/agents/{id}': agent.agentId,
  }
  for (const { method, path, output, who } of OPERATIONS) {
    if (method !== 'get' || !output || (path.includes('{') && !values[path])) continue
    const url = path.replace(/\{\w+\}/, values[path] ?? '')
    const answer =
      who === 'agent or proxy' ? await world.as(proxy, 'GET', url) : await world.op('GET', url)
    expect(answer.status, url).toBe(200)
    expect(output.safeParse(answer.body).error, url).toBeUndefined()
  }
})

/** The access rules and the key builders agree with the map of the table. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { KEY_ACCESS } from '../../../functions/store/key-access.ts'
import { ENTITIES, keys, TABLE_DEFINITION } from '../../../functions/store/table.ts'
import { dataModelPage } from '../../../scripts/docs-data-model.ts'

const partition = (pk: string): string => pk.slice(0, pk.indexOf('#') + 1) || pk
const allows = (prefixes: readonly string[], pk: string): boolean =>
  prefixes.some((p) => (p.endsWith('#') ? pk.startsWith(p) : pk === p))

test('docs/data-model.md is current (npm run docs)', () => {
  expect(readFileSync('docs/data-model.md', 'utf8')).toBe(dataModelPage())
})
test('every entity has a key builder and lies in the partition that the map says', () => {
  expect(Object.keys(keys).sort()).toEqual(Object.keys(ENTITIES).sort())
  expect(keys.token('a').pk.startsWith(partition(ENTITIES.token.pk))).toBe(true)
  expect(keys.lease('px_1' as never).pk).toBe(ENTITIES.lease.pk)
})
test('every prefix of the access rules is one of the table, and every partition can be written by somebody', () => {
  const partitions = Object.values(ENTITIES).map((e) => e.pk)
  const prefixes = Object.values(KEY_ACCESS).flatMap((a) => [...a.read, ...a.write])
  for (const prefix of prefixes.filter((p) => p !== 'LIST#'))
    expect(
      partitions.some((pk) => allows([prefix], pk)),
      prefix,
    ).toBe(true)
  const written = Object.values(KEY_ACCESS).flatMap((a) => [...a.write])
  for (const pk of partitions) expect(allows(written, pk), pk).toBe(true)
})
// What it stops: a bug in one function reaching what only another may touch.
test.each([
  ['proxy', 'read', 'TOKEN#a'],
  ['proxy', 'write', 'POLICY#version'],
  ['proxy', 'read', 'AGENT#a'],
  ['api', 'read', 'PASSWORD#ann'],
  ['api', 'write', 'POLICY#signed'],
  ['join', 'read', 'PASSWORD#ann'],
  ['join', 'write', 'ROLE#1'],
  ['login', 'write', 'TOKEN#a'],
  ['login', 'write', 'USER#1'],
  ['policy', 'write', 'LOCK#1'],
  ['bootstrap', 'read', 'APIKEY#a'],
  ['bootstrap', 'write', 'AGENT#a'],
] as const)('%s may not %s %s', (verb, way, pk) => {
  expect(allows(KEY_ACCESS[verb][way], pk)).toBe(false)
})
test('all keys of the table are texts, and the index has every attribute', () => {
  for (const { AttributeType } of TABLE_DEFINITION.AttributeDefinitions)
    expect(AttributeType).toBe('S')
  expect(TABLE_DEFINITION.GlobalSecondaryIndexes[0].Projection.ProjectionType).toBe('ALL')
})

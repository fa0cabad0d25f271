/** Keys: whatever the parts are, they come back as they were, and different parts never make the same key. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AgentId } from '../../../core/ids.ts'
import { LIMITS } from '../../../core/limits.ts'
import { createCursors } from '../../../functions/store/dynamo/cursor.ts'
import {
  marshal,
  unmarshal,
  type Plain,
  type Value,
} from '../../../functions/store/dynamo/marshal.ts'
import { indexed, joinKey, keys, shardOf, splitKey } from '../../../functions/store/table.ts'

const part = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('', '#', '%', '%23', '%25', '##', '%2523', 'a#b', '💥'),
)
const parts = fc.array(part, { minLength: 1, maxLength: 5 })
const runs = { numRuns: 5000 }

test('parts of a key come back as they were', () => {
  fc.assert(
    fc.property(parts, (p) => {
      expect(splitKey(joinKey(...p))).toEqual(p)
    }),
    runs,
  )
})
test('different parts make different keys', () => {
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      const same = a.length === b.length && a.every((x, i) => x === b[i])
      expect(joinKey(...a) === joinKey(...b)).toBe(same)
    }),
    runs,
  )
})
// What it stops: a name with a separator in it reaching into another entity's keys.
test('a part never leaves its place: the entity of a key is its first word', () => {
  fc.assert(
    fc.property(part, part, (a, b) => {
      expect(splitKey(keys.token(a).pk)).toEqual(['TOKEN', a])
      expect(splitKey(keys.idempotency(a, b).pk)).toEqual(['IDEM', a, b])
      expect(splitKey(keys.resource(a as AgentId, 'app', 'app', b).sk)).toEqual([
        'RES',
        'app',
        'app',
        b,
      ])
      expect(splitKey(indexed('app', a, b).gsi1sk)).toEqual([a, b])
    }),
    runs,
  )
})
test('a name always lies in the same shard, and names spread over all of them', () => {
  const counts = new Map<number, number>()
  for (let i = 0; i < 8000; i++) {
    const shard = shardOf(`web-${i}`)
    expect(shardOf(`web-${i}`)).toBe(shard)
    counts.set(shard, (counts.get(shard) ?? 0) + 1)
  }
  expect(counts.size).toBe(LIMITS.listShards.value)
  for (const count of counts.values()) expect(count).toBeGreaterThan(700)
})

const name = fc.string({ minLength: 1, maxLength: 8 }).filter((s) => s !== '__proto__')
const value: fc.Arbitrary<Value> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.set(fc.string(), { minLength: 1 }).map((list) => new Set(list)),
    fc.array(tie('value') as fc.Arbitrary<Value>, { maxLength: 3 }),
    fc.dictionary(name, tie('value') as fc.Arbitrary<Value>, { maxKeys: 3 }),
  ),
})).value
test('values come back from the table as they were', () => {
  fc.assert(
    fc.property(fc.dictionary(name, value, { maxKeys: 4 }), (plain) => {
      expect(unmarshal(marshal(plain as Plain))).toEqual({ ...plain })
    }),
    runs,
  )
})

test('a cursor that is not ours is refused as a wrong field, whatever it is', () => {
  const cursors = createCursors(Buffer.alloc(32, 1))
  const sealed = cursors.seal('list', { shard: 1 })
  expect(cursors.open('list', sealed)).toEqual({ shard: 1 })
  const refused = (scope: string, text: string) => {
    try {
      cursors.open(scope, text)
      return false
    } catch (e) {
      return (e as { code?: string }).code === 'ERR_INPUT_INVALID'
    }
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => refused('list', text)),
    runs,
  )
  fc.assert(
    fc.property(fc.string(), (scope) => scope === 'list' || refused(scope, sealed)),
    runs,
  )
  expect(createCursors(Buffer.alloc(32, 2)).seal('list', { shard: 1 })).not.toBe(sealed)
})

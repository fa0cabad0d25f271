/** Backup, restore and migration of a table: whole or not at all, and begun again where they were broken off. */
import { GetItemCommand, PutItemCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { instant, seconds, systemClock } from '../../../core/clock.ts'
import { silentLog } from '../../../core/log.ts'
import { systemRandom } from '../../../core/random.ts'
import { TABLE_VERSION } from '../../../core/version.ts'
import { codec } from '../../../functions/store/dynamo/codec.ts'
import { marshal, unmarshal, type Item } from '../../../functions/store/dynamo/marshal.ts'
import { MIGRATIONS } from '../../../functions/store/migrations.ts'
import { ensureTable, openStores } from '../../../functions/store/open.ts'
import { keys } from '../../../functions/store/table.ts'
import { backupLines } from '../../../functions/store/upkeep/backup.ts'
import { migrate } from '../../../functions/store/upkeep/migrate.ts'
import { adopt, restore } from '../../../functions/store/upkeep/restore.ts'
import { scan } from '../../../functions/store/upkeep/scan.ts'
import { TEST_MIGRATIONS } from '../../support/migrations.ts'
import { openBackend, type Backend } from './backend.ts'

let backend: Backend
let client: DynamoDBClient
beforeAll(async () => {
  backend = await openBackend()
  client = backend.client
})
afterAll(() => backend?.close())

let n = 0
let tableName: string
const fresh = async (): Promise<string> => {
  const name = `upkeep-${process.pid}-${Date.now()}-${++n}`
  await ensureTable(client, name)
  return name
}
beforeEach(async () => {
  tableName = await fresh()
})

const at = (name = tableName) => ({ client, tableName: name })
const put = (item: Record<string, unknown>, name = tableName) =>
  client.send(new PutItemCommand({ TableName: name, Item: marshal(item as never) }))
const all = async (name = tableName): Promise<Item[]> => {
  const found: Item[] = []
  for await (const item of scan(at(name))) found.push(item)
  const place = (item: Item) => `${item['pk']?.S} ${item['sk']?.S}`
  return found.sort((a, b) => (place(a) < place(b) ? -1 : 1))
}
const cluster = (v = 1) =>
  put({ ...keys.cluster(), entity: 'cluster', v, id: 'x', name: 'gate.example', created: 1 })
const identity = (id: string) => ({
  pk: `AGENT#${id}`,
  sk: 'SVC#ssh',
  entity: 'identity',
  v: 1,
  agentId: id,
  service: 'ssh',
  generation: 3,
  current: 'k',
  previous: 'j',
  issued: 1000,
  expires: 2000,
})
const filled = async () => {
  await cluster()
  for (let i = 0; i < 40; i++) await put(identity(`ag_${i}`))
  await put({ ...keys.version(), entity: 'version', v: 1, version: 41 })
  await put({ pk: 'LEASE', sk: 'px_1', entity: 'lease', v: 1, expires: 5 })
  await put({ pk: 'IDEM#a#b', sk: 'IDEM', entity: 'idempotency', v: 1, answer: 'sealed' })
  await put({
    pk: 'NAME#app#\u2028shop',
    sk: 'NAME',
    entity: 'name',
    v: 1,
    holders: new Set(['ag_1', 'ag_2']),
    nested: { list: ['a', 1, true, null], empty: {} },
  })
}
const written = async (): Promise<string[]> => {
  const lines: string[] = []
  for await (const line of backupLines(at(), systemClock)) lines.push(line.replace(/\n$/, ''))
  return lines
}
async function* of(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines
}
const deps = (name: string) => ({ ...at(name), clock: systemClock, random: systemRandom })

describe('a backup', () => {
  test('comes back as it was, but for what is worth nothing and what is not known any more', async () => {
    await filled()
    const lines = await written()
    const target = await fresh()
    const before = seconds(systemClock.now())
    const { items, header } = await restore(deps(target), () => of(lines))
    expect(items).toBe(43)
    expect(header).toMatchObject({ cluster: 'gate.example', table_version: 1 })
    const kept = (item: Item) => !['lease', 'idempotency'].includes(item['entity']?.S ?? '')
    const expected = (await all()).filter(kept).map((item) => unmarshal(item))
    const found = (await all(target)).map((item) => unmarshal(item))
    const restored = found.find((item) => item['entity'] === 'identity')?.['restored']
    expect(restored).toBeGreaterThanOrEqual(before)
    expect(found).toEqual(
      expected.map((item) =>
        item['entity'] === 'identity'
          ? { ...item, restored }
          : item['entity'] === 'version'
            ? { ...item, version: 1_000_041 }
            : item,
      ),
    )
  })

  test('goes into an empty table and no other', async () => {
    await filled()
    const lines = await written()
    const before = await all()
    await expect(restore(deps(tableName), () => of(lines))).rejects.toMatchObject({
      code: 'ERR_RESTORE_TARGET',
      message: expect.stringContaining('it holds the cluster gate.example') as string,
    })
    expect(await all()).toEqual(before)
    const other = await fresh()
    await put({ pk: 'ONCE#a#b', sk: 'ONCE', entity: 'once', v: 1 }, other)
    await expect(restore(deps(other), () => of(lines))).rejects.toMatchObject({
      code: 'ERR_RESTORE_TARGET',
    })
  })

  test.each<[string, (lines: string[]) => string[], string]>([
    [
      'with an item changed',
      (l) => l.map((x) => x.replace('"ag_7"', '"ag_x"')),
      'ERR_INPUT_INVALID',
    ],
    ['with an item left out', (l) => l.filter((_, i) => i !== 3), 'ERR_INPUT_INVALID'],
    ['with an item twice', (l) => [...l.slice(0, 4), ...l.slice(3)], 'ERR_INPUT_INVALID'],
    ['that was cut off', (l) => l.slice(0, -1), 'ERR_INPUT_INVALID'],
    ['with a line after its end', (l) => [...l, '{}'], 'ERR_INPUT_INVALID'],
    ['that is something else', () => ['{"a":1}', '{"items":0}'], 'ERR_INPUT_INVALID'],
    ['that is empty', () => [], 'ERR_INPUT_INVALID'],
    [
      'of a later format',
      (l) => [(l[0] ?? '').replace('"version":1', '"version":2'), ...l.slice(1)],
      'ERR_STORE_NEWER',
    ],
    [
      'of a table that is newer than this release',
      (l) => [(l[0] ?? '').replace('"table_version":1', '"table_version":9'), ...l.slice(1)],
      'ERR_STORE_NEWER',
    ],
  ])('%s is refused before anything is written', async (_what, bend, code) => {
    await filled()
    const lines = bend(await written())
    const target = await fresh()
    await expect(restore(deps(target), () => of(lines))).rejects.toMatchObject({ code })
    expect(await all(target)).toEqual([])
  })

  test('that was broken off half-way is begun again with the same file; until then nobody works on it', async () => {
    await filled()
    const lines = await written()
    const target = await fresh()
    let reads = 0
    async function* breaking(): AsyncGenerator<string> {
      reads += 1
      for (const [i, line] of lines.entries()) {
        if (reads === 2 && i === 30) throw new Error('the machine went down')
        yield line
      }
    }
    await expect(restore(deps(target), breaking)).rejects.toThrow('went down')
    const stores = openStores({ ...at(target), cursorKey: Buffer.alloc(32) })
    await expect(stores.cluster.get()).rejects.toMatchObject({ code: 'ERR_STORE_RESTORING' })
    await otherBackup(target)
    await restore(deps(target), () => of(lines))
    expect((await stores.cluster.get())?.name).toBe('gate.example')
    expect(await all(target)).toHaveLength(43)
  })

  /** Another backup, of another moment, must not be mixed in. */
  async function otherBackup(target: string): Promise<void> {
    await put(identity('ag_new'))
    const later = await written()
    await expect(restore(deps(target), () => of(later))).rejects.toMatchObject({
      code: 'ERR_RESTORE_TARGET',
      message: expect.stringContaining('holds a part of another backup') as string,
    })
  }

  test('a table without a cluster has none', async () => {
    await expect(written()).rejects.toMatchObject({ code: 'ERR_CLUSTER_NEW' })
  })
})

test('a table that was restored by other means is taken into use in place, more than once if need be', async () => {
  await filled()
  expect(await adopt(deps(tableName))).toEqual({ identities: 40 })
  await adopt(deps(tableName))
  const found = (await all()).map((item) => unmarshal(item))
  expect(found.filter((item) => item['restored'] !== undefined)).toHaveLength(40)
  expect(found.find((item) => item['entity'] === 'version')?.['version']).toBe(2_000_041)
})

describe('a migration', () => {
  const MOVES = TEST_MIGRATIONS
  const run = (given: DynamoDBClient = client, migrations = MOVES) =>
    migrate({ client: given, tableName, log: silentLog, migrations })
  const old = async (count = 30) => {
    await cluster()
    for (let i = 0; i < count; i++)
      await put({ pk: `NAME#app#${i}`, sk: 'NAME', entity: 'name', v: 1, holder: `ag_${i}` })
    await put({ pk: 'ROLE#1', sk: 'access', entity: 'role', v: 1 })
    await put({ pk: 'USER#1', sk: 'ann', entity: 'user', v: 1 })
  }
  const shape = async () =>
    (await all()).map((item) => {
      const { pk, v, holder, holders, kind, rank } = unmarshal(item)
      return JSON.stringify({ pk, v, holder, holders, kind, rank })
    })

  test('moves every item through every version, the table last, and does nothing the second time', async () => {
    await old()
    expect(await run()).toEqual({ from: 1, to: 3, items: 61 })
    const after = await shape()
    expect(after).toContain('{"pk":"CLUSTER","v":3}')
    expect(after).toContain('{"pk":"NAME#app#7","v":3,"holders":["ag_7"],"kind":"app"}')
    expect(after).toContain('{"pk":"ROLE#1","v":2,"rank":0}')
    expect(after).toContain('{"pk":"USER#1","v":1}')
    expect(await run()).toEqual({ from: 3, to: 3, items: 0 })
    expect(await shape()).toEqual(after)
  })

  test('loses nothing that others write meanwhile', async () => {
    await old(3)
    let meddled = false
    const racing = Object.create(client) as DynamoDBClient
    racing.send = (async (command: { input: { Item?: Item } }) => {
      if (command instanceof PutItemCommand && !meddled) {
        meddled = true
        const { pk, sk } = unmarshal((command as { input: { Item: Item } }).input.Item)
        await put({ pk, sk, entity: 'name', v: 1, holder: 'ag_other' })
      }
      return client.send(command as never)
    }) as never
    await run(racing)
    expect((await shape()).some((text) => text.includes('"holders":["ag_other"]'))).toBe(true)
  })

  test('of a table that is ahead is refused, and of an empty one is none', async () => {
    expect(await run()).toMatchObject({ items: 0 })
    await cluster(4)
    await expect(run()).rejects.toMatchObject({ code: 'ERR_STORE_NEWER' })
  })

  test('an item is read alike before and after it moved, and by the release before', async () => {
    const before = { pk: 'NAME#app#x', sk: 'NAME', entity: 'name', v: 1, holder: 'ag_1' }
    const schema = z.object({ holders: z.array(z.string()), kind: z.string() })
    const now = codec('name', schema, (b) => b, MOVES)
    const after = { ...before, v: 3, holders: ['ag_1'], kind: 'app' }
    expect(now.fromItem(before)).toEqual(now.fromItem(after))
    // The release before knows no `kind`, and meets items that have one.
    const earlier = codec('name', schema.omit({ kind: true }), (b) => b, MOVES.slice(0, 1))
    expect(earlier.fromItem(after)).toEqual({ holders: ['ag_1'] })
    expect(() => earlier.fromItem({ ...after, v: 4 })).toThrow()
    expect(now.item({ pk: 'a', sk: 'b' }, {})).toMatchObject({ v: 3 })
  })

  test('the versions of the table are without a gap and end at the one that this release writes', () => {
    const tables = [1, ...new Set(MIGRATIONS.map(({ table }) => table))]
    expect(tables).toEqual(Array.from({ length: TABLE_VERSION }, (_, i) => i + 1))
  })
})

describe('a renewal after a restore', () => {
  const minute = 60_000
  const renew = (fields: object) =>
    openStores({ ...at(), cursorKey: Buffer.alloc(32) }).agents.renew({
      agentId: 'ag_1',
      service: 'ssh',
      token: 'fleet',
      now: instant(3_000_000),
      ca: 'sha256:a',
      next: 'next',
      certificateExpires: instant(9_000_000),
      ...fields,
    } as never)
  const known = async (restored?: number) =>
    put({ ...identity('ag_1'), ...(restored === undefined ? {} : { restored }) })
  const unknown = { generation: 5, current: 'later', issued: instant(1_500_000) }

  test('is believed once when the certificate is from after the backup and from before the restore', async () => {
    await known(2000)
    expect(await renew(unknown)).toMatchObject({
      kind: 'renewed',
      identity: { generation: 6, current: 'next', previous: 'later' },
    })
    const row = await client.send(
      new GetItemCommand({
        TableName: tableName,
        Key: marshal({ pk: 'AGENT#ag_1', sk: 'SVC#ssh' }),
      }),
    )
    expect(row.Item?.['restored']).toBeUndefined()
    // The other copy of that identity comes second, and is found.
    expect(await renew({ ...unknown, next: 'mine' })).toMatchObject({ kind: 'copied' })
  })

  test.each<[string, object, number | undefined]>([
    ['without a restore', unknown, undefined],
    ['of a certificate from before the backup', { ...unknown, issued: instant(900_000) }, 2000],
    ['of one from after the restore', { ...unknown, issued: instant(2000 * 1000 + minute) }, 2000],
  ])('%s is a copied identity as ever', async (_what, fields, restored) => {
    await known(restored)
    expect(await renew(fields)).toMatchObject({ kind: 'copied' })
  })
})

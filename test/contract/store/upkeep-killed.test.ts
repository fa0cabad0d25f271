/** A restore and a migration are killed, as processes are: SIGKILL in the middle of a write. The next run ends what they began. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../../core/clock.ts'
import { silentLog } from '../../../core/log.ts'
import { systemRandom } from '../../../core/random.ts'
import { PutItemCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { marshal, unmarshal } from '../../../functions/store/dynamo/marshal.ts'
import {
  embeddedClient,
  openEmbeddedStore,
  type EmbeddedStore,
} from '../../../functions/store/embedded/open.ts'
import { answer } from '../../../functions/store/embedded/request-handler.ts'
import { ensureTable, openStores } from '../../../functions/store/open.ts'
import { keys } from '../../../functions/store/table.ts'
import { backupLines } from '../../../functions/store/upkeep/backup.ts'
import { migrate } from '../../../functions/store/upkeep/migrate.ts'
import { restore } from '../../../functions/store/upkeep/restore.ts'
import { scan } from '../../../functions/store/upkeep/scan.ts'
import { TEST_MIGRATIONS } from '../../support/migrations.ts'

let store: EmbeddedStore
let client: DynamoDBClient
let server: Server
let endpoint: string
const dir = mkdtempSync(join(tmpdir(), 'postern-killed-'))
/** Called at each write that arrives, before it reaches the table. */
let atWrite: (operation: string) => void = () => undefined

beforeAll(async () => {
  store = await openEmbeddedStore({ path: join(dir, 'store') })
  client = embeddedClient(store)
  server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const operation = String(request.headers['x-amz-target']).split('.')[1] ?? ''
      if (/Put|Write|Update/.test(operation)) atWrite(operation)
      void answer(
        (o, data) => store.handle(o, data),
        operation,
        Buffer.concat(parts).toString(),
      ).then(({ statusCode, text }) =>
        response.writeHead(statusCode, { 'content-type': 'application/x-amz-json-1.0' }).end(text),
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server?.closeAllConnections()
  server?.close()
  client?.destroy()
  await store?.close()
  rmSync(dir, { recursive: true, force: true })
})

/** Runs it until its write number `last` arrives, and kills it there. */
async function killedAt(last: number, table: string, ...more: string[]): Promise<void> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'test/support/upkeep-process.ts', endpoint, table, ...more],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const over = once(child, 'exit')
  let writes = 0
  atWrite = () => {
    writes += 1
    if (writes === last) child.kill('SIGKILL')
  }
  expect(await over).toEqual([null, 'SIGKILL'])
  atWrite = () => undefined
}

const NAMES = 60
async function filled(tableName: string): Promise<void> {
  await ensureTable(client, tableName)
  const put = (item: Parameters<typeof marshal>[0]) =>
    client.send(new PutItemCommand({ TableName: tableName, Item: marshal(item) }))
  await put({
    ...keys.cluster(),
    entity: 'cluster',
    v: 1,
    id: 'x',
    name: 'gate.example',
    created: 1,
  })
  for (let i = 0; i < NAMES; i++)
    await put({ pk: `NAME#app#${i}`, sk: 'NAME', entity: 'name', v: 1, holder: `ag_${i}` })
  await put({ pk: 'ROLE#1', sk: 'access', entity: 'role', v: 1 })
}
const items = async (tableName: string) => {
  const found = []
  for await (const item of scan({ client, tableName })) found.push(unmarshal(item))
  return found
}

test('a migration killed in its 90th write is finished by the next run', async () => {
  const tableName = 'migrated'
  await filled(tableName)
  await killedAt(90, tableName)
  const half = await items(tableName)
  expect(half.filter(({ v }) => v === 3).length).toBeGreaterThan(0)
  expect(half.filter(({ entity, v }) => entity === 'name' && v === 2).length).toBeGreaterThan(0)
  await migrate({ client, tableName, log: silentLog, migrations: TEST_MIGRATIONS })
  const after = await items(tableName)
  expect(after.filter(({ entity, v }) => entity === 'name' && v === 3)).toHaveLength(NAMES)
  expect(after).toContainEqual(
    expect.objectContaining({ pk: 'NAME#app#7', holders: ['ag_7'], kind: 'app' }),
  )
  expect(after).toContainEqual(expect.objectContaining({ entity: 'cluster', v: 3 }))
})

test('a restore killed between its batches lets nobody work on half a table, and ends with the same file', async () => {
  await filled('source')
  const from = { client, tableName: 'source' }
  const lines: string[] = []
  for await (const line of backupLines(from, systemClock)) lines.push(line.trimEnd())
  const file = join(dir, 'cluster.jsonl')
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
  await ensureTable(client, 'target')
  // The cluster's row, then batches of 25.
  await killedAt(3, 'target', file)
  const stores = openStores({ client, tableName: 'target', cursorKey: Buffer.alloc(32) })
  await expect(stores.cluster.get()).rejects.toMatchObject({ code: 'ERR_STORE_RESTORING' })
  expect((await items('target')).length).toBeLessThan(NAMES)
  await restore(
    { client, tableName: 'target', clock: systemClock, random: systemRandom },
    async function* () {
      yield* lines
    },
  )
  expect((await stores.cluster.get())?.name).toBe('gate.example')
  expect(await items('target')).toHaveLength(NAMES + 2)
})

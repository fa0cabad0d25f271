/** A release that is older than its table stops before it has changed anything. */
import { afterAll, expect, test } from 'vitest'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemRandom } from '../../core/random.ts'
import { embeddedClient, openEmbeddedStore } from '../../functions/store/embedded/open.ts'
import { ensureTable, openStores } from '../../functions/store/open.ts'
import { createLocalControlPlane } from '../../functions/wiring.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-version-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test('a table at a newer version is refused by name, and stays as it was', async () => {
  const engine = await openEmbeddedStore()
  const client = embeddedClient(engine)
  await ensureTable(client, 'postern')
  const stores = openStores({ client, tableName: 'postern', cursorKey: systemRandom.bytes(32) })
  const open = () =>
    createLocalControlPlane({
      dataDir: join(dir, 'data'),
      stores,
      publicOrigins: () => ['https://gate.test'],
      proxies: () => [],
    })
  await (await open()).close()
  await engine.handle('UpdateItem', {
    TableName: 'postern',
    Key: { pk: { S: 'CLUSTER' }, sk: { S: 'CLUSTER' } },
    UpdateExpression: 'SET v = :v',
    ExpressionAttributeValues: { ':v': { N: '2' } },
  })
  const all = async () => (await engine.handle('Scan', { TableName: 'postern' }))['Items']
  const before = await all()
  await expect(open()).rejects.toMatchObject({ code: 'ERR_STORE_NEWER' })
  expect(await all()).toEqual(before)
  client.destroy()
  await engine.close()
})

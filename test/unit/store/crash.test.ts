/** kill -9 in the middle of transactions: nothing acknowledged is lost, nothing is half there, items and indexes agree. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ScanCommand, type AttributeValue, type DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { expect, onTestFinished, test } from 'vitest'
import { embeddedClient, openEmbeddedStore } from '../../../functions/store/embedded/open.ts'

type Item = Record<string, AttributeValue>
async function scan(client: DynamoDBClient, IndexName?: string): Promise<Item[]> {
  const items: Item[] = []
  let ExclusiveStartKey: Item | undefined
  do {
    const page = await client.send(
      new ScanCommand({
        TableName: 'crash',
        ...(IndexName ? { IndexName } : {}),
        ExclusiveStartKey,
      }),
    )
    items.push(...(page.Items ?? []))
    ExclusiveStartKey = page.LastEvaluatedKey
  } while (ExclusiveStartKey)
  return items
}
const idOf = (item: Item) => `${item['pk']?.S} ${item['sk']?.S}`

/** Runs the child until it acknowledged `lines` things, then kills it; everything it acknowledged. */
async function runAndKill(path: string, round: number, lines: number): Promise<string[]> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', new URL('crash-child.ts', import.meta.url).pathname, path, String(round)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const exited = once(child, 'exit')
  const seen: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    seen.push(line)
    if (seen.length === lines) child.kill('SIGKILL')
  }
  expect(await exited).toEqual([null, 'SIGKILL'])
  return seen
}

test('five kills lose nothing that was acknowledged and leave no ghosts in the index', async () => {
  const path = await mkdtemp(join(tmpdir(), 'postern-crash-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  const acknowledged: string[] = []
  for (let round = 0; round < 5; round++) {
    acknowledged.push(...(await runAndKill(path, round, 60 + 37 * round)))
    const store = await openEmbeddedStore({ path })
    const client = embeddedClient(store)
    const items = await scan(client)
    const index = await scan(client, 'gsi1')
    await store.close()

    const byKey = new Map(items.map((item) => [idOf(item), item]))
    for (const line of acknowledged) {
      const [what, id = ''] = line.split(' ')
      expect(byKey.has(what === 'joined' ? `AGENT#${id} AGENT` : `AGENT#${id} ANN#app`), line).toBe(
        true,
      )
    }
    const listed = items.filter((item) => item['gsi1pk'])
    expect(new Map(index.map((i) => [idOf(i), i]))).toEqual(
      new Map(listed.map((i) => [idOf(i), i])),
    )
    // Every part of a join or none: as many agents as identities, names, uses, and counted uses.
    const count = (entity: string) => items.filter((i) => i['entity']?.S === entity).length
    const agents = count('agent')
    const counted = items
      .filter((i) => i['entity']?.S === 'token')
      .reduce((sum, i) => sum + Number(i['uses']?.N), 0)
    expect([count('identity'), count('use'), counted, count('key')]).toEqual([
      agents,
      agents,
      agents,
      2 * agents,
    ])
    expect(count('name')).toBe(agents + count('resource'))
  }
}, 120_000)

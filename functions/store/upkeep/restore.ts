/**
 * A backup back into an empty table, and a table that was restored by other means taken into use (docs/operations/backup.md).
 *
 * The cluster's row comes first, marked as being restored, so that no part works on half a table, and is put right last. A restore that
 * was broken off is begun again with the same file.
 *
 * What agents did since the backup is not known any more. Each identity is marked: within the life of a certificate its agent may come
 * with one that was issued between the backup and the restore, once (agents.ts). The policy's version jumps, because agents refuse
 * one that is lower than what they have seen.
 */
import {
  BatchWriteItemCommand,
  ConditionalCheckFailedException,
  PutItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb'
import { seconds, sleep, type Clock } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
import type { Random } from '../../../core/random.ts'
import { marshal, textOf, unmarshal, type Item } from '../dynamo/marshal.ts'
import { keys } from '../table.ts'
import { entityOf, readBackup, type BackupHeader } from './backup.ts'
import { getItem, scan, type TableAt } from './scan.ts'

/** More changes of roles, users, locks and CAs than anybody makes between two backups. */
const VERSION_JUMP = 1_000_000
const AT_ONCE = 25
const TRIES = 12

export interface RestoreDeps extends TableAt {
  readonly clock: Clock
  readonly random: Random
}
export interface Restored {
  readonly header: BackupHeader
  readonly items: number
}

const isCluster = (item: Item): boolean => entityOf(item) === 'cluster'

/** What the row of the policy's version and identities become. */
function adopted(item: Item, now: number): Item {
  switch (entityOf(item)) {
    case 'identity':
      return { ...item, restored: { N: String(now) } }
    case 'version':
      return { ...item, version: { N: String(Number(item['version']?.N ?? 0) + VERSION_JUMP) } }
    default:
      return item
  }
}

/** Throws ERR_RESTORE_TARGET for a table with anything in it, but for what this very restore left there. */
async function checkEmpty(table: TableAt, sha256: string): Promise<void> {
  const row = await getItem(table, marshal({ ...keys.cluster() }))
  const { restoring, name } = row ? unmarshal(row) : {}
  if (restoring === sha256) return
  if (restoring !== undefined)
    throw new AppError(
      'ERR_RESTORE_TARGET',
      `${table.tableName} holds a part of another backup, whose restore was broken off or is running`,
    )
  for await (const found of scan(table))
    throw new AppError(
      'ERR_RESTORE_TARGET',
      `the table ${table.tableName} is not empty: it holds ${row ? `the cluster ${textOf(name)}` : `items of kind ${entityOf(found)}, and no cluster`}`,
    )
}

async function putAll(deps: RestoreDeps, items: readonly Item[]): Promise<void> {
  const { client, tableName, clock, random } = deps
  let requests = items.map((item) => ({ PutRequest: { Item: item } }))
  for (let attempt = 0; requests.length > 0; attempt++) {
    if (attempt > TRIES) throw new AppError('ERR_TIMEOUT', 'The store is too busy')
    if (attempt > 0) await sleep(clock, random.float() * Math.min(1000, 10 * 2 ** attempt))
    const answer = await client.send(
      new BatchWriteItemCommand({ RequestItems: { [tableName]: requests } }),
    )
    requests = (answer.UnprocessedItems?.[tableName] ?? []) as typeof requests
  }
}

/** `open` gives the lines anew each time: the whole file is checked before the first item is written. */
export async function restore(
  deps: RestoreDeps,
  open: () => AsyncIterable<string>,
): Promise<Restored> {
  const { client, tableName, clock } = deps
  let cluster: Item | undefined
  const { header, items, sha256 } = await readBackup(open(), (item) => {
    if (isCluster(item)) cluster = item
  })
  if (!cluster)
    throw new AppError('ERR_INPUT_INVALID', 'the backup has no cluster; nothing was restored')
  await checkEmpty(deps, sha256)
  const now = seconds(clock.now())
  const marked = { restoring: { S: sha256 } }
  await client
    .send(
      new PutItemCommand({
        TableName: tableName,
        Item: { ...cluster, ...marked },
        ConditionExpression: 'attribute_not_exists(pk) OR restoring = :this',
        ExpressionAttributeValues: { ':this': marked.restoring },
      }),
    )
    .catch((e: unknown) => {
      if (!(e instanceof ConditionalCheckFailedException)) throw e
      throw new AppError(
        'ERR_RESTORE_TARGET',
        `somebody else began to use ${tableName} in this moment`,
      )
    })
  let some: Item[] = []
  await readBackup(open(), async (item) => {
    if (!isCluster(item)) some.push(adopted(item, now))
    if (some.length < AT_ONCE) return
    await putAll(deps, some)
    some = []
  })
  await putAll(deps, some)
  await client.send(
    new PutItemCommand({
      TableName: tableName,
      Item: cluster,
      ConditionExpression: 'restoring = :this',
      ExpressionAttributeValues: { ':this': marked.restoring },
    }),
  )
  return { header, items }
}

/** For a table that point-in-time recovery or a copy of the directory brought back: the same marks, in place. Safe to repeat. */
export async function adopt(deps: RestoreDeps): Promise<{ readonly identities: number }> {
  const { client, tableName, clock } = deps
  const now = seconds(clock.now())
  let identities = 0
  for await (const item of scan(deps)) {
    if (entityOf(item) !== 'identity') continue
    const Key = { pk: item['pk'], sk: item['sk'] } as Item
    await client
      .send(
        new UpdateItemCommand({
          TableName: tableName,
          Key,
          UpdateExpression: 'SET restored = :now',
          ConditionExpression: 'generation = :g',
          ExpressionAttributeValues: {
            ...marshal({ ':now': now }),
            ':g': item['generation'],
          } as Item,
        }),
      )
      .then(
        () => (identities += 1),
        (e: unknown) => {
          // It renewed meanwhile: then it needs no mark.
          if (!(e instanceof ConditionalCheckFailedException)) throw e
        },
      )
  }
  const { pk, sk } = keys.version()
  await client.send(
    new UpdateItemCommand({
      TableName: tableName,
      Key: marshal({ pk, sk }),
      UpdateExpression:
        'SET version = if_not_exists(version, :zero) + :jump, #entity = :entity, v = :v',
      ExpressionAttributeNames: { '#entity': 'entity' },
      ExpressionAttributeValues: marshal({
        ':zero': 0,
        ':jump': VERSION_JUMP,
        ':entity': 'version',
        ':v': 1,
      }),
    }),
  )
  return { identities }
}

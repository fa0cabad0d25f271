/**
 * Moves a table to the version of this release, item by item. A migration is a pure function from an item at one version to the same item
 * at the next. Each write holds only if the item is still as it was read, so that whoever works on the table meanwhile loses nothing;
 * what is done is told by the item's own version, so a run that was broken off is simply begun again. The cluster's row, whose version
 * is the table's, moves last.
 *
 * Releases read items of the version before (they apply the migration as they read, codec.ts) and of the version after, as far as their
 * own fields go: that is what lets one release take over from another without a pause.
 */
import {
  ConditionalCheckFailedException,
  PutItemCommand,
  UpdateItemCommand,
  type AttributeValue,
} from '@aws-sdk/client-dynamodb'
import { AppError } from '../../../core/errors.ts'
import type { Log } from '../../../core/log.ts'
import { marshal, unmarshal, type Item, type Plain } from '../dynamo/marshal.ts'
import { MIGRATIONS, type Migration } from '../migrations.ts'
import { keys } from '../table.ts'
import { getItem, scan, type TableAt } from './scan.ts'

export interface MigrateDeps extends TableAt {
  readonly log: Log
  /** Default: those of this release. */
  readonly migrations?: readonly Migration[]
}
export interface Migrated {
  readonly from: number
  readonly to: number
  /** Items that this run moved. */
  readonly items: number
}

/** An item that somebody keeps changing is read again so many times. */
const TRIES = 20

/**
 * Whether the item is still exactly this, leaf by leaf: the embedded engine compares no lists and maps as wholes. Attributes that
 * somebody added since are told by the size of what they are in, at the top by nothing: no writer adds any without changing another.
 */
function unchanged(item: Item): {
  ConditionExpression: string
  ExpressionAttributeNames: Record<string, string>
  ExpressionAttributeValues: Item
} {
  const names = new Map<string, string>()
  const values: Item = {}
  const tests: string[] = []
  const nameOf = (name: string): string => {
    const known = names.get(name) ?? `#a${names.size}`
    names.set(name, known)
    return known
  }
  const same = (left: string, value: AttributeValue): void => {
    const place = `:a${Object.keys(values).length}`
    values[place] = value
    tests.push(`${left} = ${place}`)
  }
  const look = (path: string, value: AttributeValue): void => {
    if (value.M) {
      same(`size(${path})`, { N: String(Object.keys(value.M).length) })
      for (const [name, inner] of Object.entries(value.M)) look(`${path}.${nameOf(name)}`, inner)
    } else if (value.L) {
      same(`size(${path})`, { N: String(value.L.length) })
      for (const [i, inner] of value.L.entries()) look(`${path}[${i}]`, inner)
    } else same(path, value)
  }
  for (const [name, value] of Object.entries(item))
    if (name !== 'pk' && name !== 'sk') look(nameOf(name), value)
  return {
    ConditionExpression: tests.join(' AND '),
    ExpressionAttributeNames: Object.fromEntries([...names].map(([name, alias]) => [alias, name])),
    ExpressionAttributeValues: values,
  }
}

async function moveOne(deps: MigrateDeps, found: Item, migration: Migration): Promise<boolean> {
  const { client, tableName } = deps
  const key = { pk: found['pk'], sk: found['sk'] } as Item
  let item: Item | undefined = found
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const plain: Plain | undefined = item && unmarshal(item)
    // Gone, or moved by another run of the same.
    if (!item || plain?.['v'] !== migration.from) return false
    const next = { ...migration.step(plain), v: migration.from + 1 }
    try {
      await client.send(
        new PutItemCommand({ TableName: tableName, Item: marshal(next), ...unchanged(item) }),
      )
      return true
    } catch (e) {
      if (!(e instanceof ConditionalCheckFailedException)) throw e
      item = await getItem(deps, key)
    }
  }
  throw new AppError('ERR_TIMEOUT', 'an item changes faster than it can be migrated; run it again')
}

/** Throws ERR_STORE_NEWER when the table is ahead of this release. A table without a cluster has nothing to move. */
export async function migrate(deps: MigrateDeps): Promise<Migrated> {
  const { client, tableName, log, migrations = MIGRATIONS } = deps
  const key = marshal({ ...keys.cluster() })
  const target = 1 + Math.max(0, ...migrations.map(({ table }) => table - 1))
  const row = await getItem(deps, key)
  const from = row === undefined ? target : Number(unmarshal(row)['v'])
  if (from > target)
    throw new AppError(
      'ERR_STORE_NEWER',
      `The table is at version ${from}; this release knows ${target}`,
    )
  let items = 0
  for (let table = from + 1; table <= target; table++) {
    log.info('store.migrating', { to: table })
    for (const migration of migrations.filter((one) => one.table === table))
      for await (const item of scan(deps, { entity: migration.entity, v: migration.from }))
        if (await moveOne(deps, item, migration)) items += 1
    await client
      .send(
        new UpdateItemCommand({
          TableName: tableName,
          Key: key,
          UpdateExpression: 'SET v = :to',
          ConditionExpression: 'v = :from',
          ExpressionAttributeValues: marshal({ ':to': table, ':from': table - 1 }),
        }),
      )
      .catch((e: unknown) => {
        // Another run of the same was quicker.
        if (!(e instanceof ConditionalCheckFailedException)) throw e
      })
    log.info('store.migrated', { to: table, items })
  }
  return { from, to: target, items }
}

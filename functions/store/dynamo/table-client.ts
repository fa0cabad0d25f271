/**
 * The table's operations over the AWS SDK, as small as the stores need them: failed conditions are answers, not exceptions,
 * and transactions that meet are tried again here, with jitter.
 */
import {
  BatchGetItemCommand,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  TransactionCanceledException,
  TransactionConflictException,
  TransactWriteItemsCommand,
  UpdateItemCommand,
  type DynamoDBClient,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb'
import { sleep, type Clock } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
import type { Random } from '../../../core/random.ts'
import { INDEX, type Key } from '../table.ts'
import { marshal, textOf, unmarshal, type Plain, type Value } from './marshal.ts'

/** An expression with its placeholders. */
export interface Expression {
  readonly text: string
  readonly names?: Readonly<Record<string, string>>
  readonly values?: Readonly<Record<string, Value>>
}
export type Write =
  | { readonly put: Plain; readonly when?: Expression | undefined }
  | { readonly update: Expression; readonly key: Key; readonly when?: Expression | undefined }
  | { readonly remove: Key; readonly when?: Expression | undefined }
  | { readonly check: Key; readonly when: Expression }

/** Of each write, in order: whether its condition failed, and what was there. */
interface Failed {
  readonly failed: boolean
  readonly old: Plain | undefined
}
export interface QueryRange {
  readonly index?: boolean
  readonly partition: string
  readonly above?: string | undefined
  readonly below?: string | undefined
  readonly prefix?: string | undefined
  readonly backwards?: boolean
  readonly limit?: number | undefined
  /** `LastEvaluatedKey` of the page before. */
  readonly start?: Readonly<Record<string, string>> | undefined
}
interface QueryPage {
  readonly items: readonly Plain[]
  readonly next: Readonly<Record<string, string>> | undefined
}

export interface TableClient {
  /** Strongly consistent. */
  get(key: Key): Promise<Plain | undefined>
  /** Strongly consistent, any number, in any order; absent ones are left out. */
  getMany(keys: readonly Key[]): Promise<Plain[]>
  /** False when its condition failed. */
  write(write: Exclude<Write, { check: Key }>): Promise<{ done: boolean; old: Plain | undefined }>
  /** All or none. undefined = done; otherwise which conditions failed. */
  transact(writes: readonly Write[]): Promise<readonly Failed[] | undefined>
  /** One page; strongly consistent unless over the index. */
  query(range: QueryRange): Promise<QueryPage>
  /** Every page of a range of the base table. Strongly consistent. */
  queryAll(range: Omit<QueryRange, 'index' | 'start'>): Promise<Plain[]>
}

export interface TableDeps {
  readonly client: DynamoDBClient
  readonly tableName: string
  readonly clock: Clock
  readonly random: Random
}

export const absent: Expression = { text: 'attribute_not_exists(pk)' }
export const present: Expression = { text: 'attribute_exists(pk)' }

/** Pauses of a transaction that met another: full jitter, doubling, about 8 s in all at worst. */
const RETRY_TIMES = 12
const RETRY_FIRST = 10
const RETRY_LONGEST = 1000

/** The SDK's parameters for an update, a condition or both. */
function expressions(update: Expression | undefined, when: Expression | undefined) {
  const names = { ...update?.names, ...when?.names }
  const values = { ...update?.values, ...when?.values }
  return {
    ...(update ? { UpdateExpression: update.text } : {}),
    ...(when ? { ConditionExpression: when.text } : {}),
    ...(Object.keys(names).length > 0 ? { ExpressionAttributeNames: names } : {}),
    ...(Object.keys(values).length > 0 ? { ExpressionAttributeValues: marshal(values) } : {}),
  }
}

const strings = (plain: Plain): Record<string, string> =>
  Object.fromEntries(Object.entries(plain).map(([name, value]) => [name, textOf(value)]))

export function createTableClient(deps: TableDeps): TableClient {
  const { client, tableName: TableName, clock, random } = deps
  const pause = (attempt: number) =>
    sleep(clock, random.float() * Math.min(RETRY_LONGEST, RETRY_FIRST * 2 ** attempt))
  const tooBusy = (what: string) =>
    new AppError('ERR_TIMEOUT', 'The store is too busy', { internal: `${what} kept conflicting` })

  function transactItem(write: Write): TransactWriteItem {
    const shared = {
      TableName,
      ...expressions('update' in write ? write.update : undefined, write.when),
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const,
    }
    if ('put' in write) return { Put: { ...shared, Item: marshal(write.put) } }
    if ('remove' in write) return { Delete: { ...shared, Key: marshal({ ...write.remove }) } }
    if ('check' in write)
      return {
        ConditionCheck: {
          ...shared,
          ConditionExpression: write.when.text,
          Key: marshal({ ...write.check }),
        },
      }
    return {
      Update: {
        ...shared,
        UpdateExpression: write.update.text,
        Key: marshal({ ...write.key }),
      },
    }
  }

  function send(write: Exclude<Write, { check: Key }>): Promise<unknown> {
    const shared = {
      TableName,
      ...expressions('update' in write ? write.update : undefined, write.when),
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const,
    }
    if ('put' in write)
      return client.send(new PutItemCommand({ ...shared, Item: marshal(write.put) }))
    if ('remove' in write)
      return client.send(new DeleteItemCommand({ ...shared, Key: marshal({ ...write.remove }) }))
    return client.send(new UpdateItemCommand({ ...shared, Key: marshal({ ...write.key }) }))
  }

  async function query(range: QueryRange): Promise<QueryPage> {
    const [pk, sk] = range.index ? ['gsi1pk', 'gsi1sk'] : ['pk', 'sk']
    const bound = range.prefix ?? range.above ?? range.below
    const test =
      range.prefix !== undefined
        ? ` AND begins_with(${sk}, :s)`
        : range.above !== undefined
          ? ` AND ${sk} > :s`
          : range.below !== undefined
            ? ` AND ${sk} < :s`
            : ''
    const answer = await client.send(
      new QueryCommand({
        TableName,
        ...(range.index ? { IndexName: INDEX } : { ConsistentRead: true }),
        KeyConditionExpression: `${pk} = :p${test}`,
        ExpressionAttributeValues: marshal({ ':p': range.partition, ':s': bound }),
        ScanIndexForward: !range.backwards,
        ...(range.limit === undefined ? {} : { Limit: range.limit }),
        ...(range.start === undefined ? {} : { ExclusiveStartKey: marshal(range.start) }),
      }),
    )
    return {
      items: (answer.Items ?? []).map(unmarshal),
      next: answer.LastEvaluatedKey && strings(unmarshal(answer.LastEvaluatedKey)),
    }
  }

  return {
    query,
    async get(key) {
      const { Item } = await client.send(
        new GetItemCommand({ TableName, Key: marshal({ ...key }), ConsistentRead: true }),
      )
      return Item && unmarshal(Item)
    },
    async getMany(keys) {
      const found: Plain[] = []
      for (let at = 0; at < keys.length; at += 100) {
        let Keys = keys.slice(at, at + 100).map((key) => marshal({ ...key }))
        for (let attempt = 0; Keys.length > 0; attempt++) {
          if (attempt > RETRY_TIMES) throw tooBusy('BatchGetItem')
          if (attempt > 0) await pause(attempt)
          const answer = await client.send(
            new BatchGetItemCommand({
              RequestItems: { [TableName]: { Keys, ConsistentRead: true } },
            }),
          )
          found.push(...(answer.Responses?.[TableName] ?? []).map(unmarshal))
          Keys = answer.UnprocessedKeys?.[TableName]?.Keys ?? []
        }
      }
      return found
    },
    async write(write) {
      for (let attempt = 0; ; attempt++) {
        try {
          await send(write)
          return { done: true, old: undefined }
        } catch (e) {
          if (e instanceof ConditionalCheckFailedException)
            return { done: false, old: e.Item && unmarshal(e.Item) }
          if (!(e instanceof TransactionConflictException)) throw e
          if (attempt >= RETRY_TIMES) throw tooBusy('a write')
          await pause(attempt)
        }
      }
    },
    async transact(writes) {
      const TransactItems = writes.map(transactItem)
      for (let attempt = 0; ; attempt++) {
        try {
          await client.send(new TransactWriteItemsCommand({ TransactItems }))
          return undefined
        } catch (e) {
          if (!(e instanceof TransactionCanceledException)) throw e
          const reasons = e.CancellationReasons ?? []
          if (reasons.some((r) => r.Code === 'ConditionalCheckFailed'))
            return reasons.map((r) => ({
              failed: r.Code === 'ConditionalCheckFailed',
              old: r.Item && unmarshal(r.Item),
            }))
          // Busy items pass; anything else (a wrong type, a full table) does not.
          const passes = [
            'None',
            'TransactionConflict',
            'ThrottlingError',
            'ProvisionedThroughputExceeded',
          ]
          if (!reasons.every((r) => passes.includes(r.Code ?? 'None'))) throw e
          if (attempt >= RETRY_TIMES) throw tooBusy('a transaction')
          await pause(attempt)
        }
      }
    },
    async queryAll(range) {
      const all: Plain[] = []
      let start: QueryRange['start']
      do {
        const page: QueryPage = await query({ ...range, start })
        all.push(...page.items)
        start = page.next
      } while (start)
      return all
    },
  }
}

/** TransactWriteItems and TransactGetItems, which dynalite lacks: all items in one turn, one LevelDB batch, or none of them. */
import { createHash } from 'node:crypto'
import db from 'dynalite/db/index.js'
import type { ActionStore, TableDefinition } from 'dynalite/db/index.js'
import { seconds, type Clock } from '../../../core/clock.ts'
import { runNow, validate, type ActionName, type Json } from './actions.ts'
import {
  DynamoException,
  idempotentMismatch,
  resourceNotFound,
  transactionCanceled,
  validation,
} from './exceptions.ts'
import { isRecord } from './is-record.ts'
import { createOverlay, type Overlay, type Rows } from './overlay.ts'
import { itemSection, requestTokenRow } from './ranges.ts'
import type { Tables } from './tables.ts'
import type { WriteLog } from './write-log.ts'

/** DynamoDB's own limits for a transaction. */
const MAX_ITEMS = 100
const MAX_BYTES = 4 * 1024 * 1024
/** How long a ClientRequestToken is remembered, in seconds, as DynamoDB does. */
const TOKEN_SECONDS = 600

const ACTION_OF = {
  Put: 'PutItem',
  Update: 'UpdateItem',
  Delete: 'DeleteItem',
  ConditionCheck: 'DeleteItem',
} as const satisfies Record<string, ActionName>
type Kind = keyof typeof ACTION_OF
const isKind = (text: string): text is Kind => Object.hasOwn(ACTION_OF, text)

interface Step {
  readonly kind: Kind
  readonly data: Json
  readonly table: TableDefinition
  /** The item's row in LevelDB. */
  readonly row: string
  readonly wantsOld: boolean
}
interface Reason {
  readonly Code: 'None' | 'ConditionalCheckFailed' | 'ValidationError' | 'TransactionConflict'
  readonly Message?: string
  readonly Item?: Json
}

export interface TransactionDeps {
  readonly tables: Tables
  readonly log: WriteLog
  readonly clock: Clock
  /**
   * 'serialise': transactions simply follow one another. 'refuse': one that touches an item whose last write is still on
   * its way to disk is cancelled with TransactionConflict, as DynamoDB does with transactions that meet.
   */
  readonly conflicts: 'serialise' | 'refuse'
  storeFor(rows: Rows, into: Overlay | undefined): ActionStore
}

export const itemAt = (rows: Rows, row: string): Json | undefined => {
  const text = rows.get(row)
  return text === undefined ? undefined : (JSON.parse(text) as Json)
}

/** The row that a request with `Key` or `Item` is about. */
export function rowOf(tables: Tables, data: Json): { table: TableDefinition; row: string } {
  const name = String(data['TableName'])
  const table = tables.get(name)
  if (!table) throw resourceNotFound('Requested resource not found')
  const key = data['Key'] ?? data['Item']
  const held = isRecord(key)
    ? Object.fromEntries(table.KeySchema.map((k) => [k.AttributeName, key[k.AttributeName]]))
    : {}
  const invalid = db.validateKey(data['Key'] === undefined ? held : (key as Json), table)
  if (invalid) throw validation('The provided key element does not match the schema')
  return { table, row: itemSection(name) + db.createKey(held, table) }
}

export const failedCondition = (e: unknown): e is DynamoException =>
  e instanceof DynamoException && e.kind === 'ConditionalCheckFailedException'

function items(data: Json): Json[] {
  const list = data['TransactItems']
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_ITEMS)
    throw validation(`TransactItems must have between 1 and ${MAX_ITEMS} members`)
  return list.map((item: unknown) => {
    if (!isRecord(item)) throw validation('TransactItems: a member must be a structure')
    return item
  })
}

function plan(list: readonly Json[], deps: TransactionDeps, store: ActionStore): Step[] {
  const seen = new Set<string>()
  return list.map((item) => {
    const [[kind, given] = [], ...more] = Object.entries(item)
    if (kind === undefined || more.length > 0 || !isKind(kind) || !isRecord(given))
      throw validation('TransactItems: name exactly one of Put, Update, Delete, ConditionCheck')
    const wantsOld = given['ReturnValuesOnConditionCheckFailure'] === 'ALL_OLD'
    const data = validate(ACTION_OF[kind], given, store)
    const { table, row } = rowOf(deps.tables, data)
    if (seen.has(row))
      throw validation('Transaction request cannot include multiple operations on one item')
    seen.add(row)
    return { kind, data, table, row, wantsOld }
  })
}

function evaluate(step: Step, store: ActionStore, rows: Rows): Reason {
  try {
    if (step.kind === 'ConditionCheck') {
      const failed = db.checkConditional(step.data, itemAt(rows, step.row))
      if (!failed) return { Code: 'None' }
    } else {
      runNow(ACTION_OF[step.kind], store, step.data)
      return { Code: 'None' }
    }
  } catch (e) {
    if (!failedCondition(e)) {
      if (!(e instanceof DynamoException) || e.statusCode >= 500) throw e
      return { Code: 'ValidationError', Message: e.message }
    }
  }
  const old = step.wantsOld ? itemAt(rows, step.row) : undefined
  return {
    Code: 'ConditionalCheckFailed',
    Message: 'The conditional request failed',
    ...(old ? { Item: old } : {}),
  }
}

const cancelled = (reasons: readonly Reason[]) =>
  transactionCanceled(
    `Transaction cancelled, please refer cancellation reasons for specific reasons [${reasons.map((r) => r.Code).join(', ')}]`,
    { CancellationReasons: reasons },
  )

function conflictsOf(
  rows: readonly string[],
  deps: TransactionDeps,
): readonly Reason[] | undefined {
  if (deps.conflicts === 'serialise' || !rows.some((row) => deps.log.pending(row))) return undefined
  return rows.map((row) =>
    deps.log.pending(row)
      ? { Code: 'TransactionConflict', Message: 'Transaction is ongoing for the item' }
      : { Code: 'None' },
  )
}

/** Evaluates and takes over the whole transaction; the caller awaits the log. */
export function transactWrite(data: Json, deps: TransactionDeps): Json {
  const list = items(data)
  const text = JSON.stringify(list)
  if (Buffer.byteLength(text) > MAX_BYTES) throw validation('Transaction exceeds 4 MB')
  const token = data['ClientRequestToken']
  if (token !== undefined && (typeof token !== 'string' || !/^.{1,36}$/su.test(token)))
    throw validation('ClientRequestToken must have 1 to 36 characters')
  const overlay = createOverlay(deps.log)
  const now = seconds(deps.clock.now())
  if (typeof token === 'string') {
    const hash = createHash('sha256').update(text).digest('base64url')
    const known = itemAt(deps.log, requestTokenRow(token))
    if (known && Number(known['expires']) > now) {
      if (known['hash'] === hash) return {}
      throw idempotentMismatch('The request uses the same client token with other parameters')
    }
    overlay.put(requestTokenRow(token), JSON.stringify({ hash, expires: now + TOKEN_SECONDS }))
  }
  const store = deps.storeFor(overlay, overlay)
  const steps = plan(list, deps, store)
  const conflicts = conflictsOf(
    steps.map((s) => s.row),
    deps,
  )
  if (conflicts) throw cancelled(conflicts)
  const reasons = steps.map((step) => evaluate(step, store, overlay))
  if (reasons.some((r) => r.Code !== 'None')) throw cancelled(reasons)
  deps.log.add(overlay.changes)
  return {}
}

/** One consistent view: every item is read in the same turn, from what is on disk. */
export function transactGet(data: Json, deps: TransactionDeps, rows: Rows): Json {
  const store = deps.storeFor(rows, undefined)
  const gets = items(data).map(({ Get: get, ...more }) => {
    if (!isRecord(get) || Object.keys(more).length > 0)
      throw validation('TransactItems: every member must be a Get')
    return validate('GetItem', { ...get, ConsistentRead: true }, store)
  })
  const conflicts = conflictsOf(
    gets.map((get) => rowOf(deps.tables, get).row),
    deps,
  )
  if (conflicts) throw cancelled(conflicts)
  return {
    Responses: gets.map((get) => {
      const { Item } = runNow('GetItem', store, get)
      return Item === undefined ? {} : { Item }
    }),
  }
}

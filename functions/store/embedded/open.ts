/**
 * The embedded engine: DynamoDB's operations over LevelDB, in this process, for `postern up` and for tests. dynalite
 * evaluates expressions and checks requests; durability, atomicity and transactions are ours. Every write is one synced
 * LevelDB batch of item and indexes, gathered with its neighbours (write-log.ts).
 *
 * Not there, and refused as unknown: streams, PartiQL, UpdateTable, tags, backups.
 */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { systemClock, type Clock } from '../../../core/clock.ts'
import { actionStore } from './action-store.ts'
import { runLater, runNow, validate, type Json } from './actions.ts'
import { DynamoException, serialization, toException, unknownOperation } from './exceptions.ts'
import { isRecord } from './is-record.ts'
import { openLevel } from './level.ts'
import { createOverlay, type Overlay, type Rows } from './overlay.ts'
import { createRequestHandler, type SdkRequestHandler } from './request-handler.ts'
import { loadTables } from './tables.ts'
import { describeTimeToLive, sweep, updateTimeToLive } from './time-to-live.ts'
import { failedCondition, itemAt, rowOf, transactGet, transactWrite } from './transactions.ts'
import { createWriteLog } from './write-log.ts'

export interface EmbeddedOptions {
  /** The LevelDB directory; made when absent. undefined keeps everything in memory. */
  readonly path?: string | undefined
  readonly clock?: Clock
  /** See TransactionDeps; 'refuse' is for tests of callers. Default 'serialise'. */
  readonly conflicts?: 'serialise' | 'refuse'
}

export interface EmbeddedStore {
  /** For a DynamoDBClient of one's own. */
  readonly requestHandler: SdkRequestHandler
  /** One operation with its JSON; throws DynamoException. */
  handle(op: string, data: unknown): Promise<Json>
  /** Deletes items past their time to live; returns how many. Call it now and then. */
  sweep(): Promise<number>
  /** Waits for what is on its way to disk, then lets go of the directory. */
  close(): Promise<void>
}

export async function openEmbeddedStore(options: EmbeddedOptions = {}): Promise<EmbeddedStore> {
  const clock = options.clock ?? systemClock
  const level = await openLevel(options.path)
  const log = createWriteLog(level)
  const tables = await loadTables(level, log, clock)
  const durable: Rows = { get: (key) => level.getSync(key) }
  const storeFor = (rows: Rows, into: Overlay | undefined) => actionStore(tables, level, rows, into)
  const reads = storeFor(durable, undefined)
  const deps = { tables, log, level, clock, storeFor, conflicts: options.conflicts ?? 'serialise' }

  function write(op: 'PutItem' | 'UpdateItem' | 'DeleteItem' | 'BatchWriteItem', data: Json): Json {
    const valid = validate(op, data, reads)
    const overlay = createOverlay(log)
    try {
      const answer = runNow(op, storeFor(overlay, overlay), valid)
      log.add(overlay.changes)
      return answer
    } catch (e) {
      if (!failedCondition(e) || data['ReturnValuesOnConditionCheckFailure'] !== 'ALL_OLD') throw e
      const old = itemAt(log, rowOf(tables, valid).row)
      throw old ? new DynamoException(e.statusCode, { ...e.body, Item: old }) : e
    }
  }

  function run(op: string, data: Json): Json | Promise<Json> {
    switch (op) {
      case 'GetItem':
      case 'BatchGetItem':
      case 'DescribeTable':
        return runNow(op, reads, validate(op, data, reads))
      case 'Query':
      case 'Scan':
        return runLater(op, reads, validate(op, data, reads))
      case 'PutItem':
      case 'UpdateItem':
      case 'DeleteItem':
      case 'BatchWriteItem':
        return write(op, data)
      case 'TransactWriteItems':
        return transactWrite(data, deps)
      case 'TransactGetItems':
        return transactGet(data, deps, durable)
      case 'CreateTable':
        return tables
          .create(validate(op, data, reads))
          .then((table) => ({ TableDescription: table }))
      case 'DeleteTable':
        return tables
          .remove(String(validate(op, data, reads)['TableName']))
          .then((table) => ({ TableDescription: table }))
      case 'ListTables':
        validate(op, data, reads)
        return { TableNames: tables.names() }
      case 'UpdateTimeToLive':
        return updateTimeToLive(data, deps)
      case 'DescribeTimeToLive':
        return describeTimeToLive(data, deps)
      default:
        throw unknownOperation(`Unknown operation ${op}`)
    }
  }

  /** A refusal, too, is told only when what it was decided upon is on disk. */
  async function handle(op: string, data: unknown): Promise<Json> {
    if (!isRecord(data)) throw serialization('The body is not a structure')
    const reading = READS.has(op)
    try {
      const answer = await run(op, data)
      if (!reading) await log.settled()
      return answer
    } catch (e) {
      if (!reading) await log.settled()
      throw toException(e)
    }
  }

  return {
    handle,
    requestHandler: createRequestHandler(handle),
    sweep: () => sweep(deps),
    async close() {
      await log.settled().catch(() => {})
      await level.close()
    },
  }
}

const READS = new Set([
  'GetItem',
  'BatchGetItem',
  'Query',
  'Scan',
  'DescribeTable',
  'TransactGetItems',
])

/** An AWS SDK client that talks to the engine in this process. */
export function embeddedClient(store: EmbeddedStore): DynamoDBClient {
  const client = new DynamoDBClient({
    region: 'local',
    endpoint: 'http://embedded.invalid',
    credentials: { accessKeyId: 'embedded', secretAccessKey: 'embedded' },
    // Nothing checks a signature inside one process, and making one is a third of a call's cost.
    signer: { sign: (request) => Promise.resolve(request) },
    requestHandler: store.requestHandler as never,
    maxAttempts: 1,
  })
  // It walks every request and answer for a log that is not there.
  client.middlewareStack.remove('loggerMiddleware')
  return client
}

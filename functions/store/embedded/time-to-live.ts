/**
 * Time to live: DynamoDB deletes expired items some time after; so does the sweep. Nothing relies on it: what grants access
 * compares with the clock itself.
 */
import { seconds, type Clock } from '../../../core/clock.ts'
import { runNow, type Json } from './actions.ts'
import type { ActionStore } from 'dynalite/db/index.js'
import { resourceNotFound, validation } from './exceptions.ts'
import { isRecord } from './is-record.ts'
import { keysOf, type Level } from './level.ts'
import { createOverlay, type Overlay, type Rows } from './overlay.ts'
import { everything, itemSection, ttlRow } from './ranges.ts'
import type { Tables } from './tables.ts'
import { itemAt } from './transactions.ts'
import type { WriteLog } from './write-log.ts'

export interface TtlDeps {
  readonly tables: Tables
  readonly log: WriteLog
  readonly level: Level
  readonly clock: Clock
  storeFor(rows: Rows, into: Overlay | undefined): ActionStore
}

/** Items expired for longer than this are left alone, as DynamoDB does: more likely a wrong unit than an old item. */
const FIVE_YEARS = 5 * 365 * 24 * 3600

function tableName(data: Json, tables: Tables): string {
  const name = data['TableName']
  if (typeof name !== 'string' || !tables.get(name))
    throw resourceNotFound(`Requested resource not found: Table: ${String(name)} not found`)
  return name
}

export function updateTimeToLive(data: Json, deps: TtlDeps): Json {
  const name = tableName(data, deps.tables)
  const spec = data['TimeToLiveSpecification']
  if (
    !isRecord(spec) ||
    typeof spec['Enabled'] !== 'boolean' ||
    typeof spec['AttributeName'] !== 'string' ||
    spec['AttributeName'] === ''
  )
    throw validation('TimeToLiveSpecification needs Enabled and AttributeName')
  const kept = { Enabled: spec['Enabled'], AttributeName: spec['AttributeName'] }
  deps.log.add(new Map([[ttlRow(name), JSON.stringify(kept)]]))
  return { TimeToLiveSpecification: kept }
}

export function describeTimeToLive(data: Json, deps: TtlDeps): Json {
  const spec = itemAt(deps.log, ttlRow(tableName(data, deps.tables)))
  return {
    TimeToLiveDescription: spec?.['Enabled']
      ? { TimeToLiveStatus: 'ENABLED', AttributeName: spec['AttributeName'] }
      : { TimeToLiveStatus: 'DISABLED' },
  }
}

/** Deletes what has expired, and request tokens past their time. Returns how many items went. */
export async function sweep(deps: TtlDeps): Promise<number> {
  const now = seconds(deps.clock.now())
  let count = 0
  for (const name of deps.tables.names()) {
    const spec = itemAt(deps.log, ttlRow(name))
    const attribute = spec?.['AttributeName']
    if (spec?.['Enabled'] !== true || typeof attribute !== 'string') continue
    for await (const row of keysOf(deps.level, everything(itemSection(name))))
      if (removeExpired(name, row, attribute, now, deps)) count += 1
  }
  for await (const row of keysOf(deps.level, everything('token~'))) {
    const token = itemAt(deps.log, row)
    if (token && Number(token['expires']) <= now) deps.log.add(new Map([[row, undefined]]))
  }
  await deps.log.settled()
  return count
}

/** Looks at the newest value in the same turn in which it deletes: an item renewed meanwhile stays. */
function removeExpired(
  name: string,
  row: string,
  attribute: string,
  now: number,
  deps: TtlDeps,
): boolean {
  const item = itemAt(deps.log, row)
  const table = deps.tables.get(name)
  const expires = (item?.[attribute] as { N?: string } | undefined)?.N
  if (!item || !table || expires === undefined) return false
  if (Number(expires) >= now || Number(expires) < now - FIVE_YEARS) return false
  const overlay = createOverlay(deps.log)
  const Key = Object.fromEntries(
    table.KeySchema.map((k) => [k.AttributeName, item[k.AttributeName]]),
  )
  runNow('DeleteItem', deps.storeFor(overlay, overlay), { TableName: name, Key })
  deps.log.add(overlay.changes)
  return true
}

/**
 * The store as dynalite's actions expect it, over our rows. Every `get` and `put` calls back before it returns, so an action
 * runs from start to end in one turn of the event loop: nothing can come between a condition and its write, and whatever
 * an action throws lands at its caller.
 */
import { Readable } from 'node:stream'
import type { ActionSection, ActionStore, Callback, TableDefinition } from 'dynalite/db/index.js'
import { resourceNotFound } from './exceptions.ts'
import { valuesOf, type Level } from './level.ts'
import type { Overlay, Rows } from './overlay.ts'
import { indexSection, itemSection, within } from './ranges.ts'
import type { Tables } from './tables.ts'

const refuseWrites = (): never => {
  throw new Error('a read tried to write')
}

const section = (prefix: string, rows: Rows, into: Overlay | undefined, level: Level) =>
  ({
    get(key, callback) {
      const text = rows.get(prefix + key)
      callback(null, text === undefined ? undefined : JSON.parse(text))
    },
    put(key, value, callback) {
      if (!into) return refuseWrites()
      into.put(prefix + key, JSON.stringify(value))
      callback(null)
    },
    del(key, callback) {
      if (!into) return refuseWrites()
      into.del(prefix + key)
      callback(null)
    },
    lock: (_key, body) => body((callback) => callback),
    createValueStream: (range) => Readable.from(parsed(level, prefix, range)),
  }) satisfies ActionSection

async function* parsed(level: Level, prefix: string, range: Parameters<typeof within>[1]) {
  for await (const text of valuesOf(level, within(prefix, range))) yield JSON.parse(text) as unknown
}

/** 400 KB, DynamoDB's own limit for an item. */
const MAX_ITEM = 409_600

/** `into` undefined makes a store for reads. */
export function actionStore(
  tables: Tables,
  level: Level,
  rows: Rows,
  into: Overlay | undefined,
): ActionStore {
  return {
    options: { maxItemSize: MAX_ITEM, createTableMs: 0 },
    tableDb: section('table~', rows, into, level),
    getItemDb: (table) => section(itemSection(table), rows, into, level),
    getIndexDb: (kind, table, index) =>
      section(indexSection(kind, table, index), rows, into, level),
    getTable(name, check, callback) {
      const back: Callback<TableDefinition> =
        typeof check === 'function' ? check : (callback ?? (() => {}))
      const table = tables.get(name)
      const text = 'Requested resource not found'
      if (table) back(null, table)
      else back(resourceNotFound(check === false ? `${text}: Table: ${name} not found` : text))
    },
  }
}

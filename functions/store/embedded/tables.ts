/**
 * Table definitions, kept in memory and on disk. A table is ACTIVE from the moment it is there. One left CREATING is made
 * active at start, and a deletion that was cut short is carried to its end.
 */
import createTableAction from 'dynalite/actions/createTable.js'
import type { ActionSection, TableDefinition } from 'dynalite/db/index.js'
import { seconds, type Clock } from '../../../core/clock.ts'
import { invariant } from '../../../core/errors.ts'
import { resourceInUse, resourceNotFound, toException } from './exceptions.ts'
import { valuesOf, type Level } from './level.ts'
import { everything, indexSection, itemSection, tableRow, ttlRow } from './ranges.ts'
import type { WriteLog } from './write-log.ts'

type Json = Record<string, unknown>

export interface Tables {
  get(name: string): TableDefinition | undefined
  names(): string[]
  create(data: Json): Promise<TableDefinition>
  remove(name: string): Promise<TableDefinition>
}

function activate(table: TableDefinition): TableDefinition {
  table.TableStatus = 'ACTIVE'
  for (const index of table.GlobalSecondaryIndexes ?? []) index.IndexStatus = 'ACTIVE'
  return table
}

/** Runs dynalite's own step for its defaults and ARNs; what it writes later, from a timer, is not taken. */
function define(data: Json): TableDefinition {
  let defined: TableDefinition | undefined
  let failure: unknown
  const tableDb: ActionSection = {
    get: (_key, callback) => callback(null, undefined),
    put: (_key, value, callback) => {
      defined ??= structuredClone(value) as TableDefinition
      callback(null)
    },
    del: (_key, callback) => callback(null),
    lock: (_key, body) => body((callback) => callback),
    createValueStream: () => {
      throw new Error('not used')
    },
    awsAccountId: '000000000000',
    awsRegion: 'local',
  }
  const unused = (): never => {
    throw new Error('not used')
  }
  createTableAction(
    {
      options: { maxItemSize: 0, createTableMs: 0 },
      tableDb,
      getItemDb: unused,
      getIndexDb: unused,
      getTable: unused,
    },
    data,
    (error) => {
      failure = error
    },
  )
  if (failure) throw toException(failure)
  invariant(defined, 'CreateTable defines the table at once')
  return activate(defined)
}

export async function loadTables(level: Level, log: WriteLog, clock: Clock): Promise<Tables> {
  const active = new Map<string, TableDefinition>()
  const leaving = new Set<string>()
  const write = (table: TableDefinition) =>
    log.add(new Map([[tableRow(table.TableName), JSON.stringify(table)]]))

  async function wipe(table: TableDefinition): Promise<void> {
    const name = table.TableName
    await level.clear(everything(itemSection(name)))
    for (const [kind, list] of [
      ['global', table.GlobalSecondaryIndexes],
      ['local', table.LocalSecondaryIndexes],
    ] as const)
      for (const index of list ?? [])
        await level.clear(everything(indexSection(kind, name, index.IndexName)))
    log.add(
      new Map([
        [tableRow(name), undefined],
        [ttlRow(name), undefined],
      ]),
    )
    await log.settled()
  }

  for await (const text of valuesOf(level, everything('table~'))) {
    const table = JSON.parse(text) as TableDefinition
    if (table.TableStatus === 'DELETING') await wipe(table)
    else {
      if (table.TableStatus !== 'ACTIVE') write(activate(table))
      active.set(table.TableName, table)
    }
  }
  await log.settled()

  return {
    get: (name) => active.get(name),
    names: () => [...active.keys()].sort(),
    async create(data) {
      const name = String(data['TableName'])
      if (active.has(name) || leaving.has(name))
        throw resourceInUse(`Table already exists: ${name}`)
      const table = define(data)
      table.CreationDateTime = seconds(clock.now())
      active.set(name, table)
      write(table)
      await log.settled()
      return table
    },
    async remove(name) {
      const table = active.get(name)
      if (!table) throw resourceNotFound(`Requested resource not found: Table: ${name} not found`)
      const gone = { ...table, TableStatus: 'DELETING' }
      active.delete(name)
      leaving.add(name)
      try {
        write(gone)
        await log.settled()
        await wipe(gone)
      } finally {
        leaving.delete(name)
      }
      return gone
    },
  }
}

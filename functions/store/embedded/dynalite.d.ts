/** Types for the parts of dynalite that we use: it ships none. Pure functions and per-operation steps; never its server or its store. */
declare module 'dynalite/db/index.js' {
  import type { Readable } from 'node:stream'
  type Json = Record<string, unknown>
  export interface TableDefinition {
    TableName: string
    TableStatus: string
    CreationDateTime: number
    KeySchema: { AttributeName: string; KeyType: string }[]
    AttributeDefinitions: { AttributeName: string; AttributeType: string }[]
    GlobalSecondaryIndexes?: { IndexName: string; IndexStatus: string }[]
    LocalSecondaryIndexes?: { IndexName: string }[]
    BillingModeSummary?: Json
  }
  export type Callback<T> = (error: unknown, value?: T) => void
  export type Action = (store: ActionStore, data: Json, callback: Callback<Json>) => void
  export interface ActionRange {
    readonly gt?: string
    readonly gte?: string
    readonly lt?: string
    readonly lte?: string
    readonly reverse?: boolean
    readonly limit?: number
  }
  /** What an action expects of a section of the store. */
  export interface ActionSection {
    get(key: string, callback: Callback<unknown>): void
    put(key: string, value: unknown, callback: Callback<void>): void
    del(key: string, callback: Callback<void>): void
    lock(key: string, body: (release: <C>(callback: C) => C) => void): void
    createValueStream(range: ActionRange): Readable
    awsAccountId?: string
    awsRegion?: string
  }
  export interface ActionStore {
    readonly options: { readonly maxItemSize: number; readonly createTableMs: number }
    readonly tableDb: ActionSection
    getItemDb(table: string): ActionSection
    getIndexDb(kind: string, table: string, index: string): ActionSection
    getTable(
      name: string,
      check: boolean | Callback<TableDefinition>,
      callback?: Callback<TableDefinition>,
    ): void
  }
  interface Db {
    createKey(item: Json, table: TableDefinition): string
    validateKey(key: Json, table: TableDefinition): unknown
    checkConditional(data: Json, item: Json | undefined): unknown
  }
  const db: Db
  export default db
}

declare module 'dynalite/db/conditionParser.js' {
  export interface ParseOptions {
    readonly context: {
      readonly attrNames?: Record<string, string>
      readonly attrVals?: Record<string, unknown>
      readonly unusedAttrNames?: Record<string, boolean>
      readonly unusedAttrVals?: Record<string, boolean>
    }
  }
  const parser: { parse(text: string, options: ParseOptions): unknown }
  export default parser
}

declare module 'dynalite/validations/index.js' {
  type Json = Record<string, unknown>
  interface Validations {
    checkTypes(data: Json, types: unknown): Json
    checkValidations(data: Json, types: unknown, custom: unknown, store: unknown): void
  }
  const validations: Validations
  export default validations
}

declare module 'dynalite/validations/*' {
  const validation: { readonly types: unknown; readonly custom?: unknown }
  export default validation
}

declare module 'dynalite/actions/*' {
  import type { Action } from 'dynalite/db/index.js'
  const action: Action
  export default action
}

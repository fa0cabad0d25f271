/** Types for the parts of dynalite that we use: it ships none. Pure functions and per-operation steps; never its server or its store. */
declare module 'dynalite/db/index.js' {
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
  /** What an action expects of a section of the store. */
  export interface ActionSection {
    get(key: string, callback: Callback<unknown>): void
    put(key: string, value: unknown, callback: Callback<void>): void
    del(key: string, callback: Callback<void>): void
    lock(key: string, body: (release: <C>(callback: C) => C) => void): void
    createValueStream(range: import('./ranges.ts').Range): import('node:stream').Readable
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
  const action: import('dynalite/db/index.js').Action
  export default action
}

/** The operations that dynalite evaluates for us, each with its validation. Everything else of DynamoDB is ours or unknown. */
import batchGetItem from 'dynalite/actions/batchGetItem.js'
import batchWriteItem from 'dynalite/actions/batchWriteItem.js'
import deleteItem from 'dynalite/actions/deleteItem.js'
import describeTable from 'dynalite/actions/describeTable.js'
import getItem from 'dynalite/actions/getItem.js'
import putItem from 'dynalite/actions/putItem.js'
import query from 'dynalite/actions/query.js'
import scan from 'dynalite/actions/scan.js'
import updateItem from 'dynalite/actions/updateItem.js'
import type { Action, ActionStore } from 'dynalite/db/index.js'
import validBatchGetItem from 'dynalite/validations/batchGetItem.js'
import validBatchWriteItem from 'dynalite/validations/batchWriteItem.js'
import validCreateTable from 'dynalite/validations/createTable.js'
import validDeleteItem from 'dynalite/validations/deleteItem.js'
import validDeleteTable from 'dynalite/validations/deleteTable.js'
import validDescribeTable from 'dynalite/validations/describeTable.js'
import validGetItem from 'dynalite/validations/getItem.js'
import validations from 'dynalite/validations/index.js'
import validListTables from 'dynalite/validations/listTables.js'
import validPutItem from 'dynalite/validations/putItem.js'
import validQuery from 'dynalite/validations/query.js'
import validScan from 'dynalite/validations/scan.js'
import validUpdateItem from 'dynalite/validations/updateItem.js'
import { invariant } from '../../../core/errors.ts'
import { toException } from './exceptions.ts'
import { rememberConditions } from './parsed-conditions.ts'

export type Json = Record<string, unknown>

rememberConditions()

const ACTIONS = {
  BatchGetItem: batchGetItem,
  BatchWriteItem: batchWriteItem,
  DeleteItem: deleteItem,
  DescribeTable: describeTable,
  GetItem: getItem,
  PutItem: putItem,
  Query: query,
  Scan: scan,
  UpdateItem: updateItem,
} as const satisfies Record<string, Action>
export type ActionName = keyof typeof ACTIONS

const VALIDATIONS = {
  BatchGetItem: validBatchGetItem,
  BatchWriteItem: validBatchWriteItem,
  CreateTable: validCreateTable,
  DeleteItem: validDeleteItem,
  DeleteTable: validDeleteTable,
  DescribeTable: validDescribeTable,
  GetItem: validGetItem,
  ListTables: validListTables,
  PutItem: validPutItem,
  Query: validQuery,
  Scan: validScan,
  UpdateItem: validUpdateItem,
} as const
export type ValidatedName = keyof typeof VALIDATIONS

/** Types and constraints of a request, and its expressions parsed; throws the exception that DynamoDB would answer. */
export function validate(name: ValidatedName, data: Json, store: ActionStore): Json {
  const { types, custom } = VALIDATIONS[name]
  try {
    const typed = validations.checkTypes({ ...data }, types)
    validations.checkValidations(typed, types, custom, store)
    return typed
  } catch (e) {
    throw toException(e)
  }
}

/** Runs an action that answers before it returns (all but Query and Scan). */
export function runNow(name: ActionName, store: ActionStore, data: Json): Json {
  let answer: Json | undefined
  let failure: unknown
  try {
    ACTIONS[name](store, data, (error, value) => {
      if (error) failure = error
      else answer = value
    })
  } catch (e) {
    throw toException(e)
  }
  if (failure) throw toException(failure)
  invariant(answer, `${name} answers in the same turn`)
  return answer
}

/** Runs an action that reads a range. */
export function runLater(name: ActionName, store: ActionStore, data: Json): Promise<Json> {
  return new Promise((resolve, reject) => {
    try {
      ACTIONS[name](store, data, (error, value) => {
        if (error) reject(toException(error))
        else resolve(value ?? {})
      })
    } catch (e) {
      reject(toException(e))
    }
  })
}

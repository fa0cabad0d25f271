/** DynamoDB's exceptions as the wire carries them: a status and a body with `__type`. */

import { isRecord } from './is-record.ts'

export interface ExceptionBody {
  readonly __type: string
  readonly message?: string
  readonly [extra: string]: unknown
}

/** What every failed operation throws; the request handler turns it into the answer. */
export class DynamoException extends Error {
  override readonly name = 'DynamoException'
  readonly statusCode: number
  readonly body: ExceptionBody

  constructor(statusCode: number, body: ExceptionBody, cause?: unknown) {
    super(body.message ?? body.__type, cause === undefined ? undefined : { cause })
    this.statusCode = statusCode
    this.body = body
  }

  /** `ConditionalCheckFailedException` of `com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException`. */
  get kind(): string {
    return this.body.__type.slice(this.body.__type.indexOf('#') + 1)
  }
}

const make =
  (space: string, kind: string, status = 400) =>
  (message: string, extra: Record<string, unknown> = {}): DynamoException =>
    new DynamoException(status, { __type: `${space}#${kind}`, message, ...extra })

const DYNAMO = 'com.amazonaws.dynamodb.v20120810'
export const validation = make('com.amazon.coral.validate', 'ValidationException')
export const serialization = make('com.amazon.coral.service', 'SerializationException')
export const unknownOperation = make('com.amazon.coral.service', 'UnknownOperationException')
export const resourceInUse = make(DYNAMO, 'ResourceInUseException')
export const resourceNotFound = make(DYNAMO, 'ResourceNotFoundException')
export const transactionCanceled = make(DYNAMO, 'TransactionCanceledException')
export const idempotentMismatch = make(DYNAMO, 'IdempotentParameterMismatchException')
const internalError = make(DYNAMO, 'InternalServerError', 500)

/** dynalite throws plain errors with `statusCode` and `body`; anything else is a defect and becomes a 500, never a crash. */
export function toException(thrown: unknown): DynamoException {
  if (thrown instanceof DynamoException) return thrown
  if (isRecord(thrown) || thrown instanceof Error) {
    const { statusCode, body } = thrown as { statusCode?: unknown; body?: unknown }
    if (typeof statusCode === 'number' && isRecord(body) && typeof body['__type'] === 'string')
      return new DynamoException(statusCode, { ...body, __type: body['__type'] }, thrown)
  }
  const message = thrown instanceof Error ? thrown.message : 'failed'
  return new DynamoException(500, internalError(message).body, thrown)
}

/** Plain values to DynamoDB's attribute values and back. undefined is left out; only what we store is supported. */
import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { invariant } from '../../../core/errors.ts'

export type Value =
  | string
  | number
  | boolean
  | null
  | readonly Value[]
  | ReadonlySet<string>
  | { readonly [key: string]: Value | undefined }
export type Plain = { readonly [key: string]: Value | undefined }
export type Item = Record<string, AttributeValue>

const isList = (value: Value): value is readonly Value[] => Array.isArray(value)

/** A text attribute; anything else, or nothing, is the empty text, which no key is. */
export const textOf = (value: Value | undefined): string => (typeof value === 'string' ? value : '')
export const sortKey = (item: Plain): string => textOf(item['sk'])

function marshalValue(value: Value): AttributeValue {
  if (typeof value === 'string') return { S: value }
  if (typeof value === 'number') {
    invariant(Number.isFinite(value), 'numbers in the table are finite')
    return { N: String(value) }
  }
  if (typeof value === 'boolean') return { BOOL: value }
  if (value === null) return { NULL: true }
  if (value instanceof Set) return { SS: [...(value as ReadonlySet<string>)] }
  if (isList(value)) return { L: value.map(marshalValue) }
  return { M: marshal(value as Plain) }
}

export function marshal(plain: Plain): Item {
  const item: Item = {}
  for (const [name, value] of Object.entries(plain)) {
    // Not storable: libraries on the way would take it for the prototype and lose it.
    invariant(name !== '__proto__', 'no attribute is named __proto__')
    if (value !== undefined) item[name] = marshalValue(value)
  }
  return item
}

function unmarshalValue(value: AttributeValue): Value {
  if (value.S !== undefined) return value.S
  if (value.N !== undefined) return Number(value.N)
  if (value.BOOL !== undefined) return value.BOOL
  if (value.NULL !== undefined) return null
  if (value.SS !== undefined) return new Set(value.SS)
  if (value.L !== undefined) return value.L.map(unmarshalValue)
  invariant(value.M !== undefined, 'an attribute of a kind that we write')
  return unmarshal(value.M)
}

export const unmarshal = (item: Item): Plain =>
  Object.fromEntries(Object.entries(item).map(([name, value]) => [name, unmarshalValue(value)]))

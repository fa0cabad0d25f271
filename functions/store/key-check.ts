/**
 * Which keys a request to the table touches, and whether a list of allowed keys covers them: what IAM's `dynamodb:LeadingKeys`
 * decides in AWS. The store that `postern serve store` offers holds a proxy's key to it, and the tests hold every verb to it.
 */
import type { KeyAccess } from './key-access.ts'

type Json = Readonly<Record<string, unknown>>
export type Touch = readonly [kind: 'read' | 'write', key: string]

const recordOf = (value: unknown): Json =>
  typeof value === 'object' && value !== null ? (value as Json) : {}
const textOf = (value: unknown): string => {
  const text = recordOf(value)['S']
  return typeof text === 'string' ? text : '?'
}
const pk = (item: unknown): string => textOf(recordOf(item)['pk'])
const listOf = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? (value as readonly unknown[]) : []

function queryKey(input: Json): string {
  const match = /(?:#?\w+)\s*=\s*(:\w+)/.exec(String(input['KeyConditionExpression']))
  return textOf(recordOf(input['ExpressionAttributeValues'])[match?.[1] ?? ''])
}

/** What an operation of the DynamoDB protocol (`GetItem`) touches. Undefined: it is bound to no key, so no list allows it. */
export function touches(op: string, input: Json): Touch[] | undefined {
  switch (op) {
    case 'GetItem':
      return [['read', pk(input['Key'])]]
    case 'Query':
      return [['read', queryKey(input)]]
    case 'PutItem':
      return [['write', pk(input['Item'])]]
    case 'UpdateItem':
    case 'DeleteItem':
      return [['write', pk(input['Key'])]]
    case 'BatchGetItem':
      return Object.values(recordOf(input['RequestItems'])).flatMap((table) =>
        listOf(recordOf(table)['Keys']).map((key): Touch => ['read', pk(key)]),
      )
    case 'BatchWriteItem':
      return Object.values(recordOf(input['RequestItems'])).flatMap((table) =>
        listOf(table).map((request): Touch => {
          const { PutRequest: put, DeleteRequest: del } = recordOf(request)
          return ['write', put ? pk(recordOf(put)['Item']) : pk(recordOf(del)['Key'])]
        }),
      )
    case 'TransactWriteItems':
      return listOf(input['TransactItems']).map((item): Touch => {
        const [kind, what] = Object.entries(recordOf(item))[0] ?? ['', {}]
        const { Item, Key } = recordOf(what)
        // A condition check needs dynamodb:ConditionCheckItem, which readers and writers of a key both have.
        return [kind === 'ConditionCheck' ? 'read' : 'write', pk(Item ?? Key)]
      })
    default:
      return undefined
  }
}

const covers = (prefixes: readonly string[], key: string): boolean =>
  prefixes.some((prefix) => (prefix.endsWith('#') ? key.startsWith(prefix) : key === prefix))

/** What of this request the lists do not allow; empty: it may pass. */
export function refusedTouches(access: KeyAccess, op: string, input: Json): Touch[] {
  const reads = [...access.read, ...(op.startsWith('Transact') ? access.write : [])]
  return (touches(op, input) ?? [['write', `(${op} is granted to nobody)`] as const]).filter(
    ([kind, key]) => !covers(kind === 'write' ? access.write : reads, key),
  )
}

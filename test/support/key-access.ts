/**
 * Holds every request to the table against the IAM rules of the function that would have sent it: the same lists that infra makes
 * `dynamodb:LeadingKeys` from. A store that touches a key its verb may not touch fails the test that made it do so.
 */
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { AsyncLocalStorage } from 'node:async_hooks'
import { KEY_ACCESS, type KeyAccess } from '../../functions/store/key-access.ts'
import { ROUTES, VERBS, type FunctionVerb } from '../../infra/routes.ts'

type Json = Record<string, unknown>
type Touch = readonly [kind: 'read' | 'write', key: string]

const textOf = (value: unknown): string => (value as { S?: string } | undefined)?.S ?? '?'
const pk = (item: unknown): string => textOf((item as Json | undefined)?.['pk'])

function queryKey(input: Json): string {
  const match = /(?:#?\w+)\s*=\s*(:\w+)/.exec(String(input['KeyConditionExpression']))
  return textOf((input['ExpressionAttributeValues'] as Json | undefined)?.[match?.[1] ?? ''])
}

function touches(command: string, input: Json): Touch[] {
  switch (command) {
    case 'GetItemCommand':
      return [['read', pk(input['Key'])]]
    case 'QueryCommand':
      return [['read', queryKey(input)]]
    case 'PutItemCommand':
      return [['write', pk(input['Item'])]]
    case 'UpdateItemCommand':
    case 'DeleteItemCommand':
      return [['write', pk(input['Key'])]]
    case 'BatchGetItemCommand':
    case 'TransactGetItemsCommand':
      return Object.values(
        (input['RequestItems'] ?? {}) as Record<string, { Keys: Json[] }>,
      ).flatMap((r) => r.Keys.map((key): Touch => ['read', pk(key)]))
    case 'BatchWriteItemCommand':
      return Object.values((input['RequestItems'] ?? {}) as Record<string, Json[]>).flatMap(
        (list) =>
          list.map((r): Touch => {
            const put = r['PutRequest'] as { Item: Json } | undefined
            return ['write', put ? pk(put.Item) : pk((r['DeleteRequest'] as { Key: Json }).Key)]
          }),
      )
    case 'TransactWriteItemsCommand':
      return (input['TransactItems'] as Record<string, { Key?: Json; Item?: Json }>[]).map(
        (item): Touch => {
          const [kind, what] = Object.entries(item)[0] ?? ['', {}]
          // A condition check needs dynamodb:ConditionCheckItem, which readers and writers of a key both have.
          return [kind === 'ConditionCheck' ? 'read' : 'write', pk(what.Item ?? what.Key)]
        },
      )
    default:
      return [['write', `(${command} is granted to nobody)`]]
  }
}

const covers = (prefixes: readonly string[], key: string): boolean =>
  prefixes.some((prefix) => (prefix.endsWith('#') ? key.startsWith(prefix) : key === prefix))

/** The function that answers a request, by the deployed routes. */
export function verbOf(method: string, path: string): FunctionVerb {
  const bare = path.split('?')[0] ?? path
  const found = VERBS.find((verb) =>
    ROUTES[verb].some((route) => {
      const [m, pattern = ''] = route.split(' ')
      if (m !== method) return false
      return pattern.endsWith('/{proxy+}')
        ? bare.startsWith(pattern.slice(0, -8))
        : pattern === bare
    }),
  )
  return found ?? 'api'
}

export interface KeyAccessWatch {
  /** Runs a request as the function that would answer it. */
  as<T>(method: string, path: string, run: () => Promise<T>): Promise<T>
  /** Requests that IAM would have refused, each once. */
  violations(): string[]
}

export function watchKeyAccess(client: DynamoDBClient): KeyAccessWatch {
  const current = new AsyncLocalStorage<FunctionVerb>()
  const found = new Set<string>()
  client.middlewareStack.add(
    (next, context) => (args) => {
      const verb = current.getStore()
      const { commandName = '' } = context as { commandName?: string }
      if (verb)
        for (const [kind, key] of touches(commandName, args.input as unknown as Json)) {
          const access: KeyAccess = KEY_ACCESS[verb]
          const allowed =
            kind === 'write'
              ? access.write
              : [...access.read, ...(commandName.startsWith('Transact') ? access.write : [])]
          if (!covers(allowed, key))
            found.add(`${verb} may not ${kind} ${key.replace(/#[^#]*$/, '#…')} (${commandName})`)
        }
      return next(args)
    },
    { step: 'initialize', name: 'keyAccessWatch' },
  )
  return {
    as: (method, path, run) => current.run(verbOf(method, path), run),
    violations: () => [...found].sort(),
  }
}

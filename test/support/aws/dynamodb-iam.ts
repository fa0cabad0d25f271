/**
 * Which IAM actions a DynamoDB request needs, on which resource, with which leading keys (service authorization reference, Amazon
 * DynamoDB; "Using IAM with DynamoDB transactions": the parts of a transaction are judged one by one).
 */
import type { IamRequest } from './iam.ts'

type Json = Readonly<Record<string, unknown>>
const LEADING = 'dynamodb:LeadingKeys'

const text = (value: unknown): string => String((value as { S?: string } | undefined)?.S ?? '?')
const pk = (item: unknown): string => text((item as Json | undefined)?.['pk'])

function queryKey(input: Json): string {
  const named = /^\s*(#?\w+)\s*=\s*(:\w+)/.exec(String(input['KeyConditionExpression']))
  return text((input['ExpressionAttributeValues'] as Json | undefined)?.[named?.[2] ?? ''])
}

export function dynamoRequests(
  operation: string,
  input: Json,
  arnOf: (table: string) => string,
): IamRequest[] {
  const need = (action: string, table: unknown, keys: readonly string[], index?: string) => ({
    action: `dynamodb:${action}`,
    resource: arnOf(String(table)) + (index === undefined ? '' : `/index/${index}`),
    context: keys.length > 0 ? { [LEADING]: keys } : {},
  })
  const table = input['TableName']
  switch (operation) {
    case 'GetItem':
    case 'UpdateItem':
    case 'DeleteItem':
      return [need(operation, table, [pk(input['Key'])])]
    case 'PutItem':
      return [need(operation, table, [pk(input['Item'])])]
    case 'Query':
      return [need(operation, table, [queryKey(input)], input['IndexName'] as string | undefined)]
    case 'BatchGetItem':
      return Object.entries(input['RequestItems'] as Record<string, { Keys: Json[] }>).map(
        ([name, { Keys }]) => need(operation, name, Keys.map(pk)),
      )
    case 'BatchWriteItem':
      return Object.entries(input['RequestItems'] as Record<string, Record<string, Json>[]>).map(
        ([name, writes]) =>
          need(
            operation,
            name,
            writes.map((w) => pk(w['PutRequest']?.['Item'] ?? w['DeleteRequest']?.['Key'])),
          ),
      )
    case 'TransactWriteItems':
    case 'TransactGetItems':
      return (input['TransactItems'] as Record<string, Json>[]).map((item) => {
        const [kind, part] = Object.entries(item)[0] ?? ['', {}]
        const action = kind === 'ConditionCheck' ? 'ConditionCheckItem' : `${kind}Item`
        return need(action, part['TableName'], [pk(part['Item'] ?? part['Key'])])
      })
    default:
      // Scan and everything about tables: names no key.
      return [need(operation, table, [])]
  }
}

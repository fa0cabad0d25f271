/** One item of the table, and every one of it page by page, strongly consistent: for upkeep by whoever owns it. No function has the right to scan. */
import { GetItemCommand, ScanCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb'
import type { Item } from '../dynamo/marshal.ts'

export interface TableAt {
  readonly client: DynamoDBClient
  readonly tableName: string
}

export async function getItem(
  { client, tableName }: TableAt,
  key: Item,
): Promise<Item | undefined> {
  const command = new GetItemCommand({ TableName: tableName, Key: key, ConsistentRead: true })
  return (await client.send(command)).Item
}

export async function* scan(
  { client, tableName }: TableAt,
  only?: { readonly entity: string; readonly v: number },
): AsyncGenerator<Item> {
  let start: Item | undefined
  do {
    const page = await client.send(
      new ScanCommand({
        TableName: tableName,
        ConsistentRead: true,
        ...(start && { ExclusiveStartKey: start }),
        ...(only && {
          FilterExpression: '#entity = :entity AND v = :v',
          ExpressionAttributeNames: { '#entity': 'entity' },
          ExpressionAttributeValues: { ':entity': { S: only.entity }, ':v': { N: String(only.v) } },
        }),
      }),
    )
    yield* page.Items ?? []
    start = page.LastEvaluatedKey
  } while (start)
}

/**
 * What a DynamoDB request is billed, by the rules of the developer guide ("Read and write request units"): writes by the KiB of the item,
 * twice in a transaction, once more for each index that it is in; reads by 4 KiB, half when they may be stale.
 */
type Json = Readonly<Record<string, unknown>>
export interface Units {
  readonly reads: number
  readonly writes: number
  /** 1 when the request writes, as the targets count them. */
  readonly writeRequests: number
}
/** The item as it is after the request. */
export type Look = (key: Json) => Promise<Json | undefined>

const size = (item: Json | undefined): number =>
  item === undefined ? 0 : Buffer.byteLength(JSON.stringify(item))
const kib = (bytes: number): number => Math.max(1, Math.ceil(bytes / 1024))
const fourKib = (bytes: number): number => Math.max(1, Math.ceil(bytes / 4096))
const listed = (item: Json | undefined): boolean => item?.['gsi1pk'] !== undefined
const keyOf = (item: Json): Json => ({ pk: item['pk'], sk: item['sk'] })

/** JSON of the wire is larger than what is billed, so these are upper bounds by a few per cent. */
export async function unitsOf(
  operation: string,
  input: Json,
  answer: Json,
  look: Look,
): Promise<Units> {
  const write = async (key: Json, factor: number): Promise<number> => {
    const item = await look(key)
    const units = kib(size(item))
    return units * factor + (listed(item) ? units : 0)
  }
  switch (operation) {
    case 'GetItem':
      return { reads: fourKib(size(answer['Item'] as Json)), writes: 0, writeRequests: 0 }
    case 'BatchGetItem': {
      const items = Object.values((answer['Responses'] ?? {}) as Record<string, Json[]>).flat()
      const asked = Object.values(input['RequestItems'] as Record<string, { Keys: Json[] }>)
      const missing = asked.flatMap((r) => r.Keys).length - items.length
      const reads = items.reduce((sum, item) => sum + fourKib(size(item)), missing)
      return { reads, writes: 0, writeRequests: 0 }
    }
    case 'Query': {
      const items = (answer['Items'] ?? []) as Json[]
      const units = fourKib(items.reduce((sum, item) => sum + size(item), 0))
      return { reads: input['ConsistentRead'] ? units : units / 2, writes: 0, writeRequests: 0 }
    }
    case 'PutItem':
      return { reads: 0, writes: await write(keyOf(input['Item'] as Json), 1), writeRequests: 1 }
    case 'UpdateItem':
    case 'DeleteItem':
      return { reads: 0, writes: await write(input['Key'] as Json, 1), writeRequests: 1 }
    case 'BatchWriteItem': {
      const requests = Object.values(input['RequestItems'] as Record<string, Json[]>).flat()
      let writes = 0
      for (const r of requests) {
        const put = (r['PutRequest'] as { Item: Json } | undefined)?.Item
        writes += await write(put ? keyOf(put) : (r['DeleteRequest'] as { Key: Json }).Key, 1)
      }
      return { reads: 0, writes, writeRequests: 1 }
    }
    case 'TransactWriteItems': {
      let writes = 0
      for (const item of input['TransactItems'] as Record<string, Json>[]) {
        const [part = {}] = Object.values(item)
        writes += await write((part['Key'] ?? keyOf(part['Item'] as Json)) as Json, 2)
      }
      return { reads: 0, writes, writeRequests: 1 }
    }
    default:
      throw new Error(`${operation} has no price here`)
  }
}

/** One page of a sharded list: shard after shard, each in order, so that a full listing costs few reads more than its size. */
import { LIMITS } from '../../../core/limits.ts'
import type { Page, PageRequest } from '../page.ts'
import { indexPartition, SHARDS, type ListName } from '../table.ts'
import { pageLimit, type Cursors } from './cursor.ts'
import type { Plain } from './marshal.ts'
import type { QueryRange, TableClient } from './table-client.ts'

export interface ListDeps {
  readonly table: TableClient
  readonly cursors: Cursors
}
interface ListQuery<T> {
  readonly list: ListName
  readonly page: PageRequest
  /** Everything that decides which items are kept, as text: the cursor is good for this alone. */
  readonly filters?: string
  decode(item: Plain): T
  keep(value: T): boolean
}

/** Reads of one page when a filter drops most of what it reads; then an empty page and a cursor. */
const READS_PER_PAGE = 16

export async function listPage<T>(deps: ListDeps, query: ListQuery<T>): Promise<Page<T>> {
  const limit = pageLimit(query.page.limit)
  const scope = `${query.list}\0${query.filters ?? ''}`
  const at = query.page.cursor === undefined ? {} : deps.cursors.open(scope, query.page.cursor)
  let shard = Number(at['shard'] ?? 0)
  let start: QueryRange['start'] = startOf(at)
  const items: T[] = []
  let bytes = 0
  for (let reads = 0; shard < SHARDS.length; reads++) {
    if (reads >= READS_PER_PAGE || items.length >= limit || bytes >= LIMITS.httpResponsePage.value)
      return { items, cursor: deps.cursors.seal(scope, { shard, ...start }) }
    const partition = indexPartition(query.list, shard)
    const page = await deps.table.query({
      index: true,
      partition,
      limit: limit - items.length,
      start,
    })
    for (const item of page.items) {
      const value = query.decode(item)
      if (!query.keep(value)) continue
      items.push(value)
      bytes += JSON.stringify(item).length
    }
    start = page.next
    if (!start) shard += 1
  }
  return { items, cursor: undefined }
}

function startOf(at: Readonly<Record<string, string | number>>): QueryRange['start'] {
  const entries = Object.entries(at)
    .filter(([name]) => name !== 'shard')
    .map(([name, value]) => [name, String(value)] as const)
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}

/**
 * Pages of lists that are read as a whole (roles, users, locks: the policy needs all of them). The cursor is the last name shown,
 * so a page is right also when something was added or removed in between.
 */
import { badField } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { PageAnswer } from '../../core/api/documents.ts'
import { matchesSearch, type SearchFilter } from './search.ts'

const PREFIX = 'after:'

function afterOf(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString('utf8')
  if (!text.startsWith(PREFIX)) throw badField('cursor', 'is not one that this list gave')
  return text.slice(PREFIX.length)
}

export function pageOfAll<T extends { readonly name: string }, D>(
  all: readonly T[],
  filter: SearchFilter & {
    readonly limit?: number | undefined
    readonly cursor?: string | undefined
  },
  show: (item: T) => D,
): PageAnswer<D> {
  const limit = filter.limit ?? LIMITS.pageSizeDefault.value
  const after = filter.cursor === undefined ? undefined : afterOf(filter.cursor)
  const rest = all
    .filter((item) => after === undefined || item.name > after)
    .filter((item) => matchesSearch(item, filter))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const page = rest.slice(0, limit)
  const last = page.at(-1)
  const cursor =
    rest.length > limit && last
      ? Buffer.from(PREFIX + last.name, 'utf8').toString('base64url')
      : undefined
  return { items: page.map(show), ...(cursor === undefined ? {} : { cursor }) }
}

/** How the engine lays its rows out in LevelDB: one prefix for each section. Table names never contain `~`. */
import type { ActionRange } from 'dynalite/db/index.js'

/** Bounds of an iteration; as the actions give them, still without the section's prefix. */
export type Range = ActionRange

export const tableRow = (name: string): string => `table~${name}`
export const ttlRow = (name: string): string => `ttl~${name}`
export const requestTokenRow = (token: string): string => `token~${token}`
export const itemSection = (table: string): string => `item-${table}~`
export const indexSection = (kind: string, table: string, index: string): string =>
  `index-${kind.toLowerCase()}~${table}~${index}~`

/** Keys are ASCII, so 0xff is above all of them. */
export const everything = (section: string): { readonly gte: string; readonly lt: string } => ({
  gte: section,
  lt: `${section}\u00ff`,
})

export function within(section: string, range: Range): Range {
  const all = everything(section)
  return {
    ...(range.gt !== undefined
      ? { gt: section + range.gt }
      : { gte: range.gte === undefined ? all.gte : section + range.gte }),
    ...(range.lte !== undefined
      ? { lte: section + range.lte }
      : { lt: range.lt === undefined ? all.lt : section + range.lt }),
    ...(range.reverse === undefined ? {} : { reverse: range.reverse }),
    limit: range.limit ?? -1,
  }
}

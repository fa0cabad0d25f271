/** How entities become items: `entity` and `v` on each, checked when read. A wrong item is our defect, never the caller's. */
import * as z from 'zod'
import { fromSeconds } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
import { entityVersion, MIGRATIONS, type Migration } from '../migrations.ts'
import type { Entity, IndexKey, Key } from '../table.ts'
import { sortKey, textOf, type Plain } from './marshal.ts'

export const time = z.int().transform(fromSeconds)
/** An id that was checked when it was written. */
export const idOf = <T extends string>() => z.custom<T>((value) => typeof value === 'string')
export const stringMap = z.record(z.string(), z.string())
export const selector = z.record(z.string(), z.array(z.string()))

/** Where the item goes and when it may be tidied away (epoch seconds). */
type Place = Key & Partial<IndexKey> & { readonly ttl?: number | undefined }

export interface Codec<T> {
  item(place: Place, body: Plain): Plain
  fromItem(item: Plain): T
}

/**
 * Reads items of this release's version, of every older one (moved on as they are read, migrations.ts), and of the one that comes next,
 * as far as its fields are known here: two releases run side by side during an upgrade.
 */
export function codec<S extends z.ZodType, T>(
  entity: Entity,
  schema: S,
  from: (body: z.output<S>) => T,
  migrations: readonly Migration[] = MIGRATIONS,
): Codec<T> {
  const own = migrations.filter((one) => one.entity === entity)
  const latest = entityVersion(entity, migrations)
  const moved = (item: Plain): Plain =>
    own
      .filter((one) => one.from >= Number(item['v']))
      .sort((a, b) => a.from - b.from)
      .reduce((at, one) => ({ ...one.step(at), v: one.from + 1 }), item)
  return {
    item: (place, body) => ({ ...body, ...place, entity, v: latest }),
    fromItem(item) {
      const wrong = (why: string, cause?: unknown) =>
        new AppError('ERR_INTERNAL', undefined, {
          internal: `item ${textOf(item['pk'])} ${sortKey(item)}: ${why}`,
          cause,
        })
      if (item['entity'] !== entity) throw wrong(`not of entity ${entity}`)
      const { v } = item
      if (typeof v !== 'number' || !Number.isInteger(v) || v < 1 || v > latest + 1)
        throw wrong(`version ${JSON.stringify(v)} is not known here`)
      const body = schema.safeParse(moved(item))
      if (!body.success) throw wrong(z.prettifyError(body.error), body.error)
      return from(body.data)
    },
  }
}

/** How entities become items: `entity` and `v` on each, checked when read. A wrong item is our defect, never the caller's. */
import * as z from 'zod'
import { fromSeconds } from '../../../core/clock.ts'
import { AppError } from '../../../core/errors.ts'
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

/** All entities are at version 1; a second version adds a case and its own schema. */
export function codec<S extends z.ZodType, T>(
  entity: Entity,
  schema: S,
  from: (body: z.output<S>) => T,
): Codec<T> {
  return {
    item: (place, body) => ({ ...body, ...place, entity, v: 1 }),
    fromItem(item) {
      const wrong = (why: string, cause?: unknown) =>
        new AppError('ERR_INTERNAL', undefined, {
          internal: `item ${textOf(item['pk'])} ${sortKey(item)}: ${why}`,
          cause,
        })
      if (item['entity'] !== entity) throw wrong(`not of entity ${entity}`)
      switch (item['v']) {
        case 1: {
          const body = schema.safeParse(item)
          if (!body.success) throw wrong(z.prettifyError(body.error), body.error)
          return from(body.data)
        }
        default:
          throw wrong(`version ${JSON.stringify(item['v'])} is not known here`)
      }
    },
  }
}

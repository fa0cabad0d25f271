/**
 * Every change of the shape of items that there ever was, oldest first; entries are added and never changed or removed. None yet.
 *
 * To change an entity: raise TABLE_VERSION (core/version.ts), add an entry with that version, and give the entity's codec the new shape.
 * A new field must be one that the release before can live without, because both run side by side during an upgrade: that release reads
 * the item by its own fields and drops the rest when it writes. What cannot be said that way takes two releases.
 */
import type { Plain } from './dynamo/marshal.ts'
import type { Entity } from './table.ts'

export interface Migration {
  /** Version of the table once every item has moved. Several entries may share one. */
  readonly table: number
  readonly entity: Exclude<Entity, 'cluster'>
  /** Version of the items that it takes; they become one more. */
  readonly from: number
  /** Pure: the same item gives the same result, here and when it is read before it was moved. Keys stay as they are. */
  step(item: Plain): Plain
}

export const MIGRATIONS: readonly Migration[] = []

/** The version of an entity's items in this release. */
export const entityVersion = (
  entity: Entity,
  migrations: readonly Migration[] = MIGRATIONS,
): number => 1 + migrations.filter((one) => one.entity === entity).length

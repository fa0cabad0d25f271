/** Migrations for tests, as this release has none: a field that becomes a list, one that is added, and one of another entity. */
import type { Migration } from '../../functions/store/migrations.ts'

export const TEST_MIGRATIONS: readonly Migration[] = [
  {
    table: 2,
    entity: 'name',
    from: 1,
    step: ({ holder, ...rest }) => ({ ...rest, holders: [holder ?? null] }),
  },
  { table: 3, entity: 'name', from: 2, step: (item) => ({ ...item, kind: 'app' }) },
  { table: 3, entity: 'role', from: 1, step: (item) => ({ ...item, rank: 0 }) },
]

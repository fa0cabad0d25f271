/** Users in the table. See user-store.ts for what each method promises. */
import * as z from 'zod'
import { seconds } from '../../../core/clock.ts'
import type { User } from '../../../core/domain/user.ts'
import { AppError } from '../../../core/errors.ts'
import { keys } from '../table.ts'
import type { UserStore } from '../user-store.ts'
import { codec, selector, time } from './codec.ts'
import { bumpVersion } from './policy-bump.ts'
import { byName, listShards, stable } from './roles.ts'
import { present, type TableClient } from './table-client.ts'

const users = codec(
  'user',
  z.object({ name: z.string(), roles: z.array(z.string()), traits: selector, created: time }),
  (b): User => b,
)
const passwords = codec('password', z.object({ hash: z.string() }), (b) => b.hash)

export function createUserStore({ table }: { readonly table: TableClient }): UserStore {
  return {
    async get(name) {
      const item = await table.get(keys.user(name))
      return item && users.fromItem(item)
    },
    async list() {
      return (await listShards(table, 'USER')).map((item) => users.fromItem(item)).sort(byName)
    },
    async put(user) {
      const item = await table.get(keys.user(user.name))
      const old = item && users.fromItem(item)
      const next = users.item(keys.user(user.name), {
        ...user,
        created: seconds(old?.created ?? user.created),
      })
      if (old && stable(old) === stable(users.fromItem(next))) return 'unchanged'
      await table.transact([{ put: next }, bumpVersion])
      return old ? 'replaced' : 'created'
    },
    async remove(name) {
      const failed = await table.transact([
        { remove: keys.user(name), when: present },
        { remove: keys.password(name) },
        bumpVersion,
      ])
      return !failed
    },
    async setPasswordHash(name, hash) {
      const failed = await table.transact([
        { check: keys.user(name), when: present },
        { put: passwords.item(keys.password(name), { hash }) },
      ])
      if (failed) throw new AppError('ERR_NOT_FOUND', `There is no user ${name}`)
    },
    async passwordHash(name) {
      const item = await table.get(keys.password(name))
      return item && passwords.fromItem(item)
    },
  }
}

/** Locks in the table: one item by id for the policy, the same by target for whoever asks about one agent or user. */
import * as z from 'zod'
import { seconds, type Instant } from '../../../core/clock.ts'
import { lockInForce, type Lock, type LockTarget } from '../../../core/domain/lock.ts'
import { SERVICE_KINDS } from '../../../core/domain/service.ts'
import { AppError } from '../../../core/errors.ts'
import type { AgentId, LockId } from '../../../core/ids.ts'
import type { LockStore } from '../lock-store.ts'
import { keys, lockedPartition } from '../table.ts'
import { codec, idOf, time } from './codec.ts'
import { bumpVersion } from './policy-bump.ts'
import { listShards } from './roles.ts'
import { absent, present, type TableClient } from './table-client.ts'

const schema = z.object({
  id: idOf<LockId>(),
  target: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('user'), user: z.string() }),
    z.object({ kind: z.literal('agent'), agent: idOf<AgentId>() }),
    z.object({ kind: z.literal('role'), role: z.string() }),
    z.object({
      kind: z.literal('service'),
      agent: idOf<AgentId>(),
      service: z.enum(SERVICE_KINDS),
    }),
    z.object({ kind: z.literal('token'), token: z.string() }),
  ]),
  message: z.string().optional(),
  created: time,
  createdBy: z.string(),
  expires: time.optional(),
})
const from = (b: z.output<typeof schema>): Lock => ({
  ...b,
  message: b.message,
  expires: b.expires,
})
const locks = codec('lock', schema, from)
const locked = codec('locked', schema, from)
const DAY = 24 * 3600

export function createLockStore({ table }: { readonly table: TableClient }): LockStore {
  async function onTarget(target: LockTarget, now: Instant): Promise<Lock[]> {
    const items = await table.queryAll({ partition: lockedPartition(target) })
    return items.map((item) => locked.fromItem(item)).filter((lock) => lockInForce(lock, now))
  }

  return {
    async create(lock) {
      const expires = lock.expires === undefined ? undefined : seconds(lock.expires)
      const ttl = expires === undefined ? undefined : expires + DAY
      const body = {
        ...lock,
        target: { ...lock.target },
        created: seconds(lock.created),
        expires,
      }
      const failed = await table.transact([
        { put: locks.item({ ...keys.lock(lock.id), ttl }, body), when: absent },
        { put: locked.item({ ...keys.locked(lock.target, lock.id), ttl }, body), when: absent },
        bumpVersion,
      ])
      if (failed) throw new AppError('ERR_CONFLICT', `A lock ${lock.id} exists already`)
    },
    async get(id, now) {
      const item = await table.get(keys.lock(id))
      const lock = item && locks.fromItem(item)
      return lock && lockInForce(lock, now) ? lock : undefined
    },
    async list(now) {
      return (await listShards(table, 'LOCK'))
        .map((item) => locks.fromItem(item))
        .filter((lock) => lockInForce(lock, now))
        .sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1))
    },
    on: onTarget,
    async onAny(targets, now) {
      const found = await Promise.all(targets.map((target) => onTarget(target, now)))
      return found.flat()
    },
    async remove(id) {
      const item = await table.get(keys.lock(id))
      if (!item) return false
      const { target } = locks.fromItem(item)
      const failed = await table.transact([
        { remove: keys.lock(id), when: present },
        { remove: keys.locked(target, id) },
        bumpVersion,
      ])
      return !failed
    },
  }
}

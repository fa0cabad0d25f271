/** Roles in the table. See role-store.ts for what each method promises. */
import * as z from 'zod'
import { RULE_KINDS, RULE_VERBS, type Role, type RoleRules } from '../../../core/domain/role.ts'
import type { RoleStore } from '../role-store.ts'
import { keys, listPartition, SHARDS } from '../table.ts'
import { codec, selector } from './codec.ts'
import type { Plain } from './marshal.ts'
import { bumpVersion } from './policy-bump.ts'
import { present, type TableClient } from './table-client.ts'

export const apiRules = z.array(
  z.object({
    resources: z.array(z.enum([...RULE_KINDS, '*'])),
    verbs: z.array(z.enum([...RULE_VERBS, '*'])),
  }),
)
const side = z.object({
  logins: z.array(z.string()),
  nodeLabels: selector.optional(),
  appLabels: selector.optional(),
  rules: apiRules,
})
const roles = codec(
  'role',
  z.object({
    name: z.string(),
    allow: side,
    deny: side,
    options: z.object({
      maxSessionTtl: z.number().optional(),
      forwardAgent: z.boolean(),
      localForwarding: z.boolean(),
      remoteForwarding: z.boolean(),
      fileCopy: z.boolean(),
      idleTimeout: z.number().optional(),
      maxSessions: z.int().optional(),
      lock: z.enum(['strict', 'best_effort']),
    }),
  }),
  (b): Role => ({
    name: b.name,
    allow: rulesOf(b.allow),
    deny: rulesOf(b.deny),
    options: {
      ...b.options,
      maxSessionTtl: b.options.maxSessionTtl,
      idleTimeout: b.options.idleTimeout,
      maxSessions: b.options.maxSessions,
    },
  }),
)
const rulesOf = (b: z.output<typeof side>): RoleRules => ({
  ...b,
  nodeLabels: b.nodeLabels,
  appLabels: b.appLabels,
})

const plain = (r: RoleRules): Plain => ({
  logins: r.logins,
  nodeLabels: r.nodeLabels,
  appLabels: r.appLabels,
  rules: r.rules.map((rule) => ({ resources: rule.resources, verbs: rule.verbs })),
})
const itemOf = (role: Role): Plain =>
  roles.item(keys.role(role.name), {
    name: role.name,
    allow: plain(role.allow),
    deny: plain(role.deny),
    options: { ...role.options },
  })

export async function listShards(table: TableClient, list: 'ROLE' | 'USER' | 'LOCK') {
  const shards = await Promise.all(
    SHARDS.map((shard) => table.queryAll({ partition: listPartition(list, shard) })),
  )
  return shards.flat()
}
export const byName = (a: { name: string }, b: { name: string }): number =>
  a.name < b.name ? -1 : 1

/** Sameness of stored values, whatever the order of their attributes. */
export const stable = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )

export function createRoleStore({ table }: { readonly table: TableClient }): RoleStore {
  return {
    async get(name) {
      const item = await table.get(keys.role(name))
      return item && roles.fromItem(item)
    },
    async list() {
      return (await listShards(table, 'ROLE')).map((item) => roles.fromItem(item)).sort(byName)
    },
    async put(role) {
      const old = await table.get(keys.role(role.name))
      const item = itemOf(role)
      if (old && stable(roles.fromItem(old)) === stable(roles.fromItem(item))) return 'unchanged'
      await table.transact([{ put: item }, bumpVersion])
      return old ? 'replaced' : 'created'
    },
    async remove(name) {
      const failed = await table.transact([{ remove: keys.role(name), when: present }, bumpVersion])
      return !failed
    },
  }
}

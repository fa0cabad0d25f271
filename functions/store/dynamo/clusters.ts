/** The cluster's row. See cluster-store.ts for what each method promises. */
import * as z from 'zod'
import { seconds } from '../../../core/clock.ts'
import type { CaBundle, JsonWebKeyLike } from '../../../core/domain/policy.ts'
import { AppError } from '../../../core/errors.ts'
import { TABLE_VERSION } from '../../../core/version.ts'
import type { Cluster, ClusterStore } from '../cluster-store.ts'
import { keys } from '../table.ts'
import { codec, time } from './codec.ts'
import type { Plain } from './marshal.ts'
import { absent, type TableClient } from './table-client.ts'

const ca = z.object({ x509: z.array(z.string()), ssh: z.array(z.string()) })
const bundle = z.object({
  host: ca,
  user: ca,
  policy: z.array(z.custom<JsonWebKeyLike>((jwk) => typeof jwk === 'object' && jwk !== null)),
})
/** Kept as text: it is compared as a whole and never looked into by a condition. */
const casText = z.string().transform((text): CaBundle => bundle.parse(JSON.parse(text)))
const clusters = codec(
  'cluster',
  z.object({ id: z.string(), name: z.string(), created: time, cas: casText.optional() }),
  (b): Cluster => ({ ...b, cas: b.cas }),
)
const textOf = ({ host, user, policy }: CaBundle): string =>
  JSON.stringify({
    host: { x509: host.x509, ssh: host.ssh },
    user: { x509: user.x509, ssh: user.ssh },
    policy: policy.map((jwk) => Object.fromEntries(Object.entries(jwk).sort())),
  })
const itemOf = (cluster: Cluster): Plain => ({
  ...clusters.item(keys.cluster(), {
    ...cluster,
    created: seconds(cluster.created),
    cas: cluster.cas && textOf(cluster.cas),
  }),
  v: TABLE_VERSION,
})

/**
 * The row's version is that of the whole table: every part reads it before it does anything, so a release that cannot read what a newer
 * one wrote stops here, before it has changed anything.
 */
function fromItem(item: Plain): Cluster {
  if (item['restoring'] !== undefined) throw new AppError('ERR_STORE_RESTORING')
  const v = item['v']
  if (typeof v === 'number' && v > TABLE_VERSION)
    throw new AppError(
      'ERR_STORE_NEWER',
      `The table is at version ${v}; this release knows ${TABLE_VERSION}`,
    )
  return clusters.fromItem({ ...item, v: 1 })
}

export function createClusterStore({ table }: { readonly table: TableClient }): ClusterStore {
  return {
    async get() {
      const item = await table.get(keys.cluster())
      return item && fromItem(item)
    },
    async init(cluster) {
      const item = itemOf(cluster)
      const { done, old } = await table.write({ put: item, when: absent })
      return fromItem(done || !old ? item : old)
    },
  }
}

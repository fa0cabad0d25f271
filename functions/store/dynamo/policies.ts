/** The policy's version and what was signed of it. See policy-store.ts for what each method promises. */
import * as z from 'zod'
import { seconds, type Clock } from '../../../core/clock.ts'
import type { PolicyCounts } from '../../../core/domain/presence.ts'
import { AppError } from '../../../core/errors.ts'
import type { LockStore } from '../lock-store.ts'
import type { PolicyStore, SignedPolicy } from '../policy-store.ts'
import type { RoleStore } from '../role-store.ts'
import { keys } from '../table.ts'
import type { UserStore } from '../user-store.ts'
import { codec, time } from './codec.ts'
import { sortKey } from './marshal.ts'
import { bumpVersion } from './policy-bump.ts'
import { absent, present, type Expression, type TableClient } from './table-client.ts'

const versions = codec(
  'version',
  z.object({ version: z.int(), departures: z.int().default(0) }),
  (b): PolicyCounts => ({ policy: b.version, departures: b.departures }),
)
interface Head {
  readonly version: number
  readonly digest: string
  readonly parts: number
}
const partKeys = (head: Head) =>
  Array.from({ length: head.parts }, (_, part) => keys.signedPart(head.version, head.digest, part))
const sameHead = (head: Head): Expression => ({
  text: '#version = :version AND #digest = :digest',
  names: { '#version': 'version', '#digest': 'digest' },
  values: { ':version': head.version, ':digest': head.digest },
})
const signedRows = codec(
  'signed',
  z.object({ version: z.int(), digest: z.string(), parts: z.int() }),
  (b): Head => b,
)
const parts = codec('signedPart', z.object({ text: z.string() }), (b) => b.text)
const stamps = codec(
  'freshness',
  z.object({ version: z.int(), issued: time, jws: z.string() }),
  (b) => b,
)

/** Characters of one part: an item holds 400 KB, and a JWS is ASCII. */
const PART = 350_000
/** Parts of documents that are not the newest any more are tidied away. */
const PART_TTL = 24 * 3600
const TRIES = 6
/** After so many reads that a change ran into, a snapshot newer than its version is better than none: the next one follows. */
const SNAPSHOT_TRIES = 3

export async function readCounts(table: TableClient): Promise<PolicyCounts> {
  const item = await table.get(keys.version())
  return item ? versions.fromItem(item) : { policy: 0, departures: 0 }
}
const readVersion = async (table: TableClient): Promise<number> => (await readCounts(table)).policy

export function createPolicyStore(deps: {
  readonly table: TableClient
  readonly clock: Clock
  readonly roles: Pick<RoleStore, 'list'>
  readonly users: Pick<UserStore, 'list'>
  readonly locks: Pick<LockStore, 'list'>
}): PolicyStore {
  const { table, clock } = deps

  async function head(): Promise<Head | undefined> {
    const item = await table.get(keys.signed())
    return item && signedRows.fromItem(item)
  }

  async function signed(): Promise<SignedPolicy | undefined> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const newest = await head()
      if (!newest) return undefined
      const { version, digest } = newest
      const found = await table.getMany(partKeys(newest))
      // Fewer: it was replaced and tidied away since, so there is a newer one.
      if (found.length < newest.parts) continue
      const jws = found
        .sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1))
        .map((part) => parts.fromItem(part))
        .join('')
      return { version, digest, jws }
    }
    throw new AppError('ERR_INTERNAL', undefined, { internal: 'parts of the policy are missing' })
  }

  /** Parts of what is not the newest, or never became it, go when nobody can be reading them any more. */
  async function tidyLater(old: Head): Promise<void> {
    const ttl = seconds(clock.now()) + PART_TTL
    for (const key of partKeys(old))
      await table.write({
        key,
        update: { text: 'SET #ttl = :ttl', names: { '#ttl': 'ttl' }, values: { ':ttl': ttl } },
        when: present,
      })
  }

  return {
    version: () => readVersion(table),
    async bump() {
      await table.write(bumpVersion)
      return readVersion(table)
    },
    async snapshot(now) {
      for (let attempt = 1; ; attempt++) {
        const version = await readVersion(table)
        const [roles, users, locks] = await Promise.all([
          deps.roles.list(),
          deps.users.list(),
          deps.locks.list(now),
        ])
        const still = attempt >= SNAPSHOT_TRIES || (await readVersion(table)) === version
        if (still) return { version, roles, users, locks }
      }
    },
    head,
    signed,
    async publish(policy) {
      const { version, digest } = policy
      const texts = policy.jws.match(new RegExp(`[^]{1,${PART}}`, 'g')) ?? ['']
      for (const [part, text] of texts.entries())
        await table.write({ put: parts.item(keys.signedPart(version, digest, part), { text }) })
      const mine: Head = { version, digest, parts: texts.length }
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const before = await head()
        if (before && before.version >= version) {
          if (before.version !== version || before.digest !== digest) await tidyLater(mine)
          return (await signed()) ?? policy
        }
        const { done } = await table.write({
          put: signedRows.item(keys.signed(), { ...mine }),
          when: before ? sameHead(before) : absent,
        })
        if (!done) continue
        if (before) await tidyLater(before)
        return policy
      }
      throw new AppError('ERR_TIMEOUT', 'The policy keeps changing')
    },
    async freshness() {
      const item = await table.get(keys.freshness())
      return item && stamps.fromItem(item)
    },
    async publishFreshness(stamp) {
      const issued = seconds(stamp.issued)
      const item = stamps.item(keys.freshness(), { ...stamp, issued })
      const { done, old } = await table.write({
        put: item,
        when: {
          text: 'attribute_not_exists(pk) OR #version < :version OR (#version = :version AND #issued < :issued)',
          names: { '#version': 'version', '#issued': 'issued' },
          values: { ':version': stamp.version, ':issued': issued },
        },
      })
      return stamps.fromItem(done || !old ? item : old)
    },
  }
}

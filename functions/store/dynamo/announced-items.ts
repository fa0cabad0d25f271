/** What a service of an agent announced last, and the names it took when it joined, before it announced anything. */
import * as z from 'zod'
import {
  RESOURCE_KINDS,
  serviceOfResource,
  type ServiceKind,
} from '../../../core/domain/service.ts'
import type { AgentId } from '../../../core/ids.ts'
import type { NameClaim } from '../join-store.ts'
import { joinKey, keys, splitKey } from '../table.ts'
import { codec } from './codec.ts'
import type { Plain } from './marshal.ts'
import type { Write } from './table-client.ts'

export interface Announced {
  /** Of the last complete announcement; empty before the first. */
  readonly digest: string
  /** Names taken by a join and not announced since. */
  readonly names: readonly NameClaim[]
}

const kind = z.enum(RESOURCE_KINDS)
const rows = codec(
  'announced',
  z.object({ digest: z.string(), names: z.set(z.string()).optional() }),
  (b): Announced => ({
    digest: b.digest,
    names: [...(b.names ?? [])].map((text) => {
      const [of, name = ''] = splitKey(text)
      return { kind: kind.parse(of), name }
    }),
  }),
)
export const announcedFromItem = (item: Plain): Announced => rows.fromItem(item)

/** A complete announcement replaces the row that was read. */
export const announcedWrite = (
  id: AgentId,
  service: ServiceKind,
  digest: string,
  before: Announced | undefined,
): Write => ({
  put: rows.item(keys.announced(id, service), { digest }),
  when: before
    ? { text: '#digest = :old', names: { '#digest': 'digest' }, values: { ':old': before.digest } }
    : { text: 'attribute_not_exists(pk)' },
})

/**
 * Remembers the names of a join, so that they are given back when they are never announced. Each is noted with the service that
 * announces its kind, whichever service joined: a node's name is not the app service's to give back.
 */
export function noteClaims(id: AgentId, names: readonly NameClaim[]): Write[] {
  const services = new Set(names.map((claim) => serviceOfResource(claim.kind)))
  return [...services].map((service) => ({
    key: keys.announced(id, service),
    update: {
      text: 'ADD #names :names SET #digest = :none, #entity = :entity, v = :v',
      names: { '#names': 'names', '#digest': 'digest', '#entity': 'entity' },
      values: {
        ':names': new Set(
          names
            .filter((claim) => serviceOfResource(claim.kind) === service)
            .map((claim) => joinKey(claim.kind, claim.name)),
        ),
        ':none': '',
        ':entity': 'announced',
        ':v': 1,
      },
    },
  }))
}

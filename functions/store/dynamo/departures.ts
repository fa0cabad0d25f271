/**
 * Services that left their agents. Two rows each: one beside the agent's identities, for a join that follows, and one in the order
 * of time, for the proxies, which read what is new when the count beside the policy's version has moved.
 */
import * as z from 'zod'
import { seconds, type Instant } from '../../../core/clock.ts'
import type { Departure } from '../../../core/domain/departure.ts'
import { SERVICE_KINDS } from '../../../core/domain/service.ts'
import type { AgentId } from '../../../core/ids.ts'
import { departureTime, keys } from '../table.ts'
import { codec, idOf, time } from './codec.ts'
import type { Plain } from './marshal.ts'
import type { Expression, TableClient, Write } from './table-client.ts'

const schema = z.object({
  agentId: idOf<AgentId>(),
  service: z.enum(SERVICE_KINDS),
  until: time,
  expires: time,
})
const departed = codec('departed', schema, (b): Departure => b)
const departures = codec('departure', schema, (b): Departure => b)
export const departedFromItem = (item: Plain): Departure => departed.fromItem(item)

const DAY = 24 * 3600

/** What goes with the removal of the identity, in one transaction. `now`: when the rows are written. */
export function departureWrites(departure: Departure, now: Instant): Write[] {
  const { agentId, service } = departure
  const [until, expires] = [seconds(departure.until), seconds(departure.expires)]
  const body = { agentId, service, until, expires }
  const ttl = expires + DAY
  return [
    { put: departed.item({ ...keys.departed(agentId, service), ttl }, body) },
    { put: departures.item({ ...keys.departure(now, agentId, service), ttl }, body) },
    {
      key: keys.version(),
      update: {
        text: 'ADD #departures :one, #version :zero SET #entity = :entity, v = :v',
        names: { '#departures': 'departures', '#version': 'version', '#entity': 'entity' },
        values: { ':one': 1, ':zero': 0, ':entity': 'version', ':v': 1 },
      },
    },
  ]
}

/** That what was read of an earlier departure still holds. */
export const departedUnchanged = (departure: Departure | undefined): Expression =>
  departure
    ? {
        text: '#until = :until',
        names: { '#until': 'until' },
        values: { ':until': seconds(departure.until) },
      }
    : { text: 'attribute_not_exists(pk)' }

/** Those written at `since` or later and not run out at `now`. Strongly consistent. */
export async function departuresSince(
  table: TableClient,
  since: Instant,
  now: Instant,
): Promise<Departure[]> {
  const items = await table.queryAll({ partition: 'DEPARTURE', above: departureTime(since) })
  return items.map((item) => departures.fromItem(item)).filter(({ expires }) => now < expires)
}

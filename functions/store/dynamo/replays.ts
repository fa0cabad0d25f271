/** Things spent once. See replay-store.ts for what the method promises. */
import { seconds, type Instant } from '../../../core/clock.ts'
import * as z from 'zod'
import type { ReplayStore } from '../replay-store.ts'
import { keys, type Key } from '../table.ts'
import { codec } from './codec.ts'
import type { Expression, TableClient } from './table-client.ts'

const rows = codec('once', z.object({}), () => undefined)

const free: Expression = {
  text: 'attribute_not_exists(pk) OR #until <= :now',
  names: { '#until': 'until' },
  values: {},
}

export function createReplayStore({ table }: { readonly table: TableClient }): ReplayStore {
  async function put(
    key: Key,
    owner: string | undefined,
    expires: Instant,
    now: Instant,
  ): Promise<boolean> {
    // Rounded up: a second too long refuses a replay, a second too short lets one in.
    const until = Math.ceil(expires / 1000)
    const mine = owner !== undefined
    const { done } = await table.write({
      put: rows.item({ ...key, ttl: until }, { until, owner }),
      when: {
        text: mine ? `${free.text} OR #owner = :owner` : free.text,
        names: { ...free.names, ...(mine ? { '#owner': 'owner' } : {}) },
        values: { ':now': seconds(now), ...(mine ? { ':owner': owner } : {}) },
      },
    })
    return done
  }

  return {
    spend: (scope, id, expires, now) => put(keys.once(scope, id), undefined, expires, now),
    claim: (scope, id, owner, expires, now) => put(keys.once(scope, id), owner, expires, now),
  }
}

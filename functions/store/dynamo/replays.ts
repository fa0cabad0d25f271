/** Things spent once. See replay-store.ts for what the method promises. */
import { seconds } from '../../../core/clock.ts'
import * as z from 'zod'
import type { ReplayStore } from '../replay-store.ts'
import { keys } from '../table.ts'
import { codec } from './codec.ts'
import type { TableClient } from './table-client.ts'

const rows = codec('once', z.object({}), () => undefined)

export function createReplayStore({ table }: { readonly table: TableClient }): ReplayStore {
  return {
    async spend(scope, id, expires, now) {
      // Rounded up: a second too long refuses a replay, a second too short lets one in.
      const until = Math.ceil(expires / 1000)
      const { done } = await table.write({
        put: rows.item({ ...keys.once(scope, id), ttl: until }, { until }),
        when: {
          text: 'attribute_not_exists(pk) OR #until <= :now',
          names: { '#until': 'until' },
          values: { ':now': seconds(now) },
        },
      })
      return done
    },
  }
}

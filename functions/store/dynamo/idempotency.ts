/** Idempotency keys in the table. See idempotency-store.ts for what each method promises. */
import * as z from 'zod'
import { plus, seconds, type Instant } from '../../../core/clock.ts'
import { LIMITS } from '../../../core/limits.ts'
import type {
  IdempotencyKey,
  IdempotencyStart,
  IdempotencyStore,
  StoredAnswer,
} from '../idempotency-store.ts'
import { keys } from '../table.ts'
import { codec, time } from './codec.ts'
import type { TableClient } from './table-client.ts'

const rows = codec(
  'idempotency',
  z.object({
    request: z.string(),
    until: time,
    answer: z.object({ status: z.int(), body: z.string() }).optional(),
  }),
  (b) => b,
)

export function createIdempotencyStore({
  table,
}: {
  readonly table: TableClient
}): IdempotencyStore {
  const row = (key: IdempotencyKey, until: Instant, answer?: StoredAnswer) =>
    rows.item(
      { ...keys.idempotency(key.principal, key.key), ttl: seconds(until) },
      {
        request: key.request,
        until: seconds(until),
        ...(answer ? { answer: { status: answer.status, body: answer.body } } : {}),
      },
    )
  const mine = (key: IdempotencyKey) => ({
    text: '#request = :request',
    names: { '#request': 'request' },
    values: { ':request': key.request },
  })

  return {
    async start(key, now): Promise<IdempotencyStart> {
      const { done, old } = await table.write({
        put: row(key, plus(now, 2 * LIMITS.httpTimeout.value)),
        when: {
          text: 'attribute_not_exists(pk) OR #until <= :now',
          names: { '#until': 'until' },
          values: { ':now': seconds(now) },
        },
      })
      if (done) return { kind: 'first' }
      // Gone between the condition and now: the one before it gave up.
      if (!old) return { kind: 'running' }
      const found = rows.fromItem(old)
      if (found.request !== key.request) return { kind: 'mismatch' }
      return found.answer ? { kind: 'done', answer: found.answer } : { kind: 'running' }
    },
    async finish(key, answer, now) {
      await table.write({
        put: row(key, plus(now, LIMITS.idempotencyTtl.value), answer),
        when: mine(key),
      })
    },
    async abandon(key) {
      await table.write({ remove: keys.idempotency(key.principal, key.key), when: mine(key) })
    },
  }
}

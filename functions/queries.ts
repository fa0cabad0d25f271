/** Query parameters of the API's lists. Each is named in the OpenAPI document; an unknown one is refused. */
import * as z from 'zod'
import { instant, type Clock, type Instant } from '../core/clock.ts'
import { parseDuration } from '../core/duration.ts'
import { EVENT_TYPES } from '../core/domain/event.ts'
import { labels, type Labels } from '../core/domain/name.ts'
import { LIMITS } from '../core/limits.ts'

const limit = z
  .string()
  .regex(/^\d{1,4}$/, `use a number from 1 to ${LIMITS.pageSize.value}`)
  .transform(Number)
  .pipe(z.int().min(1).max(LIMITS.pageSize.value))
const cursor = z.string().min(1).max(2048)

export const pageQuery = z.strictObject({ limit: limit.optional(), cursor: cursor.optional() })

/** The calls that take parameters. Every other one refuses them by name; the OpenAPI document is held to this list by a test. */
export const WITH_QUERY: ReadonlySet<string> = new Set([
  '/v1/tokens',
  '/v1/keys',
  '/v1/oidc_connectors',
  '/v1/roles',
  '/v1/users',
  '/v1/locks',
  '/v1/nodes',
  '/v1/apps',
  '/v1/agents',
  '/v1/events',
])

const labelQuery = z.string().transform((text, ctx): Labels => {
  const pairs = text.split(',').map((pair) => {
    const at = pair.indexOf('=')
    return at < 1 ? undefined : ([pair.slice(0, at), pair.slice(at + 1)] as const)
  })
  const parsed = pairs.includes(undefined)
    ? undefined
    : labels.safeParse(Object.fromEntries(pairs.filter((pair) => pair !== undefined)))
  if (parsed?.success) return parsed.data
  ctx.addIssue({ code: 'custom', message: 'use key=value, several with commas between' })
  return z.NEVER
})

export const resourceQuery = pageQuery.extend({
  labels: labelQuery.optional(),
  search: z.string().min(1).max(128).optional(),
})

const point = z
  .string()
  .refine(
    (text) =>
      parseDuration(text) !== undefined || z.iso.datetime({ offset: true }).safeParse(text).success,
    'use a time such as 2027-01-01T00:00:00Z, or a duration such as 1h for that long ago',
  )
const types = z
  .string()
  .transform((text) => text.split(','))
  .pipe(z.array(z.enum(EVENT_TYPES, 'use types of events, several with commas between')))

export const eventQuery = pageQuery.extend({
  since: point.optional(),
  until: point.optional(),
  type: types.optional(),
  /** The actor: a user's name, or an actor as events show it. */
  user: z.string().min(1).max(256).optional(),
  resource: z.string().min(1).max(256).optional(),
  session: z.string().min(1).max(128).optional(),
})

/** The moment that a `since` or `until` names. */
export function moment(text: string | undefined, clock: Clock): Instant | undefined {
  if (text === undefined) return undefined
  const ago = parseDuration(text)
  return instant(ago === undefined ? Date.parse(text) : clock.now() - ago)
}

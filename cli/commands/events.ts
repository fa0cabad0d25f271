/** `postern events`: the audit log, newest first. */
import { eventDocument } from '../../core/api/documents.ts'
import { iso, plus } from '../../core/clock.ts'
import { EVENT_TYPES } from '../../core/domain/event.ts'
import { parseDuration } from '../../core/duration.ts'
import { LIMITS } from '../../core/limits.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { usage } from '../ui/report.ts'
import { painter } from '../ui/style.ts'
import { table } from '../ui/table.ts'

export interface EventsOptions extends ProfileOptions {
  readonly type?: string | undefined
  readonly user?: string | undefined
  readonly resource?: string | undefined
  readonly since?: string | undefined
  readonly limit: string
  readonly json?: true | undefined
}

export async function events(cli: Cli, options: EventsOptions): Promise<void> {
  const { type } = options
  if (type !== undefined && !EVENT_TYPES.some((known) => known === type))
    throw usage(`--type: unknown type "${type}"`, `use one of ${EVENT_TYPES.join(', ')}`)
  const span = options.since === undefined ? undefined : parseDuration(options.since)
  if (options.since !== undefined && span === undefined)
    throw usage('--since: use a duration such as 30m, 24h or 7d')
  const max = Number(options.limit)
  if (!Number.isInteger(max) || max < 1) throw usage('--limit: use a number from 1 on')
  const query = {
    type,
    user: options.user,
    resource: options.resource,
    since: span === undefined ? undefined : iso(plus(cli.clock.now(), -span)),
    limit: String(Math.min(max, LIMITS.pageSize.value)),
  }
  const found = await withClient(cli, options, (client) =>
    client.list(eventDocument, '/v1/events', query, max),
  )
  if (options.json) return cli.out(JSON.stringify(found, null, 2))
  const rows = found.map((event) => [
    event.time.replace(/\.\d+Z$/, 'Z'),
    event.type,
    event.outcome,
    event.actor,
    event.resource ?? '',
    event.reason ?? summary(event.fields),
  ])
  const header = ['TIME', 'TYPE', 'OUTCOME', 'WHO', 'WHAT', 'DETAIL']
  for (const line of table(header, rows, painter(cli.stdout, cli.env.noColor))) cli.out(line)
}

/** What says most in one line; the rest is in --json. */
const TOLD = ['command', 'login', 'path', 'target', 'service', 'token', 'roles', 'message'] as const
const summary = (fields: Readonly<Record<string, unknown>>): string =>
  TOLD.filter((key) => fields[key] !== undefined && fields[key] !== null)
    .map((key) => `${key}=${[fields[key]].flat().join(',')}`)
    .join(' ')

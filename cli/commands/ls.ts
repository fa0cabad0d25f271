/** `postern ls`: nodes and apps with their labels, online or since when not. */
import type * as z from 'zod'
import {
  appDocument,
  nodeDocument,
  type AppDocument,
  type NodeDocument,
} from '../../core/api/documents.ts'
import { AppError } from '../../core/errors.ts'
import type { Instant } from '../../core/clock.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import { labelWords, type ProfileOptions } from '../host.ts'
import { painter, type Paint } from '../ui/style.ts'
import { labelText, table } from '../ui/table.ts'
import { ago } from '../ui/time.ts'

export interface LsOptions extends ProfileOptions {
  readonly search?: string | undefined
  readonly json?: true | undefined
}
type Listed = NodeDocument | AppDocument
const KINDS = ['nodes', 'apps'] as const
const SCHEMA: Readonly<Record<(typeof KINDS)[number], z.ZodType<Listed>>> = {
  nodes: nodeDocument,
  apps: appDocument,
}

const state = (status: Listed['status'], now: Instant): string => {
  if (status.online) return 'online'
  if (status.last_seen === undefined) return 'never connected'
  return `offline, last seen ${ago(Date.parse(status.last_seen), now)}`
}

export async function ls(cli: Cli, given: readonly string[], options: LsOptions): Promise<void> {
  const [first, ...rest] = given
  const kind = KINDS.find((k) => k === first)
  if (kind === undefined && first !== undefined && !first.includes('='))
    throw new AppError(
      'ERR_USAGE',
      `ls: "${first}" is neither nodes nor apps nor a label as env=prod`,
    )
  const labels = Object.entries(labelWords(kind === undefined ? given : rest, 'ls'))
  const query = {
    labels: labels.length === 0 ? undefined : labels.map(([k, v]) => `${k}=${v}`).join(','),
    search: options.search,
  }
  const found: Listed[] = await withClient(cli, options, async (client) => {
    const lists = (kind === undefined ? KINDS : [kind]).map((k) =>
      client.list(SCHEMA[k], `/v1/${k}`, query),
    )
    return (await Promise.all(lists)).flat()
  })
  if (options.json) return cli.out(JSON.stringify(found, null, 2))
  if (found.length === 0) return cli.note('nothing there that you may reach')
  const paint = painter(cli.stdout, cli.env.noColor)
  for (const line of table(
    ['KIND', 'NAME', 'STATE', 'LABELS'],
    rows(found, cli.clock.now()),
    paint,
  ))
    cli.out(coloured(line, paint))
}

const rows = (found: readonly Listed[], now: Instant): string[][] =>
  found
    .map((item) => [
      item.kind,
      item.metadata.name,
      state(item.status, now),
      labelText(item.metadata.labels),
    ])
    .sort((a, b) => `${a[0]} ${a[1]}`.localeCompare(`${b[0]} ${b[1]}`))

/** After the columns are laid out: colour codes have no width. */
const coloured = (line: string, paint: Paint): string =>
  line.replace(/ {2}online( {2}|$)/, (word) => paint('green', word))

/**
 * A table as a file: lines of JSON. The first is the header, then one item a line as DynamoDB's own JSON has it, the last says how many
 * and the SHA-256 of all bytes before it. docs/operations/backup.md is for whoever keeps such files.
 *
 * Not in it: leases and remembered answers, which are worth nothing a minute or a day later, and the signed policy, which is signed anew.
 * There is no secret in the table: tokens, API keys and passwords are hashes, CA keys are elsewhere.
 */
import { createHash, type Hash } from 'node:crypto'
import * as z from 'zod'
import { iso, type Clock } from '../../../core/clock.ts'
import { resourceName } from '../../../core/domain/name.ts'
import { AppError } from '../../../core/errors.ts'
import { TABLE_VERSION, VERSION } from '../../../core/version.ts'
import { marshal, textOf, unmarshal, type Item } from '../dynamo/marshal.ts'
import { keys, type Entity } from '../table.ts'
import { getItem, scan, type TableAt } from './scan.ts'

export const FORMAT = 1
const FORMAT_NAME = 'postern-backup'
/** Characters of a line: an item has 400 KB at most. */
export const LINE_MAX = 4 * 1024 * 1024

const header = z.strictObject({
  format: z.literal(FORMAT_NAME),
  version: z.int(),
  table_version: z.int().min(1),
  cluster: resourceName,
  created: z.iso.datetime(),
  postern: z.string().max(64),
})
export type BackupHeader = z.output<typeof header>
const trailer = z.strictObject({
  items: z.int().min(0),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})

const LEFT_OUT: ReadonlySet<string> = new Set<Entity>([
  'lease',
  'idempotency',
  'signed',
  'signedPart',
  'freshness',
])
export const entityOf = (item: Item): string => textOf(unmarshal(item)['entity'])

/** The lines of a backup, each with its line break. Throws ERR_CLUSTER_NEW for a table without a cluster. */
export async function* backupLines(table: TableAt, clock: Clock): AsyncGenerator<string> {
  const hash = createHash('sha256')
  const line = (value: unknown): string => {
    const text = `${JSON.stringify(value)}\n`
    hash.update(text)
    return text
  }
  const row = await clusterRow(table)
  if (!row) throw new AppError('ERR_CLUSTER_NEW')
  const first: BackupHeader = {
    format: FORMAT_NAME,
    version: FORMAT,
    table_version: row.version,
    cluster: row.name,
    created: iso(clock.now()),
    postern: VERSION,
  }
  yield line(first)
  let items = 0
  for await (const item of scan(table)) {
    if (LEFT_OUT.has(entityOf(item))) continue
    items += 1
    yield line(item)
  }
  yield `${JSON.stringify({ items, sha256: hash.digest('hex') })}\n`
}

async function clusterRow(
  table: TableAt,
): Promise<{ readonly name: string; readonly version: number } | undefined> {
  const item = await getItem(table, marshal({ ...keys.cluster() }))
  const row = item && unmarshal(item)
  return row && { name: textOf(row['name']), version: Number(row['v']) }
}

const broken = (why: string): AppError =>
  new AppError('ERR_INPUT_INVALID', `the backup ${why}; nothing was restored`)

/** Reads a whole backup and checks it, giving each item to `each`. Answers what it is and its hash. */
export async function readBackup(
  lines: AsyncIterable<string>,
  each: (item: Item) => void | Promise<void>,
): Promise<{ readonly header: BackupHeader; readonly items: number; readonly sha256: string }> {
  const hash: Hash = createHash('sha256')
  let first: BackupHeader | undefined
  let held: string | undefined
  let items = 0
  for await (const text of lines) {
    if (text.length > LINE_MAX) throw broken('has a line that is too long')
    // The last line is the trailer, and only the next one tells that this was not it.
    if (held !== undefined) {
      hash.update(`${held}\n`)
      if (first === undefined) first = readHeader(held)
      else {
        items += 1
        await each(readItem(held))
      }
    }
    held = text
  }
  const end = trailer.safeParse(parseLine(held ?? ''))
  if (first === undefined || !end.success) throw broken('has no end: it was cut off')
  const sha256 = hash.digest('hex')
  if (end.data.items !== items || end.data.sha256 !== sha256)
    throw broken('was changed or damaged: its hash is another')
  return { header: first, items, sha256 }
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw broken('is no JSON')
  }
}

function readHeader(text: string): BackupHeader {
  const parsed = header.safeParse(parseLine(text))
  if (!parsed.success) throw broken('does not begin as one')
  const { version, table_version: table } = parsed.data
  if (version > FORMAT || table > TABLE_VERSION)
    throw new AppError(
      'ERR_STORE_NEWER',
      `The backup is of format ${version} and table version ${table}; this release knows ${FORMAT} and ${TABLE_VERSION}`,
    )
  return parsed.data
}

const attribute: z.ZodType = z.lazy(() =>
  z.union([
    z.strictObject({ S: z.string() }),
    z.strictObject({ N: z.string() }),
    z.strictObject({ BOOL: z.boolean() }),
    z.strictObject({ NULL: z.literal(true) }),
    z.strictObject({ SS: z.array(z.string()).min(1) }),
    z.strictObject({ L: z.array(attribute) }),
    z.strictObject({ M: z.record(z.string(), attribute) }),
  ]),
)
const itemShape = z
  .record(z.string(), attribute)
  .refine((item) => ['pk', 'sk', 'entity'].every((name) => name in item))

function readItem(text: string): Item {
  const parsed = itemShape.safeParse(parseLine(text))
  if (!parsed.success) throw broken('holds something that is no item')
  return parsed.data as Item
}

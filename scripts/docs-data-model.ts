/** The page docs/data-model.md, made from the map in functions/store/table.ts; `npm run docs` writes it. */
import { writeFileSync } from 'node:fs'
import { KEY_ACCESS } from '../functions/store/key-access.ts'
import { ENTITIES, INDEX, TTL_ATTRIBUTE } from '../functions/store/table.ts'
import { LIMITS } from '../core/limits.ts'

const words = (entity: string): string =>
  entity.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
const code = (text: string): string => (text === '' ? '' : `\`${text}\``)
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
const list = (prefixes: readonly string[]): string =>
  prefixes.map((p) => code(p.endsWith('#') ? `${p}*` : p)).join(' ')

export function dataModelPage(): string {
  return `# The data model

Generated from \`functions/store/table.ts\` and \`key-access.ts\` by \`npm run docs\`.

Everything that Postern keeps lies in one DynamoDB table, and in the same shape in the embedded store of \`postern up\`. Keys are
\`pk\` and \`sk\`; the index \`${INDEX}\` (\`gsi1pk\`, \`gsi1sk\`) holds the lists. Parts of a key are joined with \`#\`; a \`#\` or \`%\` inside a part is
written \`%23\` or \`%25\`. A \`<shard>\` is one of ${LIMITS.listShards.value}, chosen by a hash of the name. Every item carries its \`entity\` and a version \`v\`.

No CA key, password, token or API key is in the table: secrets are there as hashes only. Times are epoch seconds (in the audit log
milliseconds). The attribute \`${TTL_ATTRIBUTE}\` lets the table tidy up some time after; whatever grants access compares with the clock itself, so an
item that is expired counts as absent although it may still be there.

## Items

| entity | pk | sk | in which list | tidied away | what always holds |
|---|---|---|---|---|---|
${Object.entries(ENTITIES)
  .map(([name, e]) =>
    row([words(name), code(e.pk), code(e.sk), e.gsi1 && code(e.gsi1), e.ttl, e.invariant]),
  )
  .join('\n')}

## Who may touch what

Each function, and the proxy, runs under a role whose \`dynamodb:LeadingKeys\` are exactly these, so that a defect in one of them is
worth only what that one may do.

| part | reads | writes |
|---|---|---|
${Object.entries(KEY_ACCESS)
  .map(([verb, access]) => row([words(verb), list(access.read), list(access.write)]))
  .join('\n')}
`
}

if (process.argv[1] === import.meta.filename) writeFileSync('docs/data-model.md', dataModelPage())

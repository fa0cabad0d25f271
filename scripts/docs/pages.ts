/** The pages made from the error table and the limits table. */
import { ERRORS, type ErrorKind } from '../../core/errors.ts'
import { LIMITS, type Limit } from '../../core/limits.ts'

const OWNER = { caller: 'you', us: 'the cluster', upstream: 'what lies behind' } as const
const row = (cells: readonly (string | number)[]): string =>
  `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`

export function errorsPage(): string {
  const entries = Object.entries<ErrorKind>(ERRORS)
  return `# Errors

Generated from \`core/errors.ts\` by \`npm run docs\`. The same codes appear in API answers (\`application/problem+json\`, field \`code\`),
in tunnel refusals, in logs and on the command line, where the hint is printed after \`hint:\`.
A failed join or sign-in says no more than its code to the caller; the audit log has the exact reason (\`postern events\`).

${row(['code', 'HTTP', 'exit', 'try again?', 'whose move', 'meaning', 'what to do'])}
|---|---|---|---|---|---|---|
${entries.map(([code, k]) => row([`\`${code}\``, k.status, k.exitCode, k.retryable ? 'yes' : 'no', OWNER[k.owner], k.title, k.hint])).join('\n')}

Exit codes of the command: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 not found, 5 unreachable.
`
}

function amount({ value, unit }: Limit): string {
  if (unit === 'bytes') {
    if (value >= 1 << 20 && value % (1 << 20) === 0) return `${value / (1 << 20)} MiB`
    return value >= 1024 && value % 1024 === 0 ? `${value / 1024} KiB` : `${value} bytes`
  }
  if (unit !== 'ms') return `${value.toLocaleString('en')}${unit === 'count' ? '' : ` ${unit}`}`
  for (const [name, size] of [
    ['days', 86_400_000],
    ['hours', 3_600_000],
    ['min', 60_000],
    ['s', 1000],
  ] as const)
    if (value >= size && value % size === 0) return `${value / size} ${name}`
  return `${value} ms`
}

export function limitsPage(): string {
  const entries = Object.entries<Limit>(LIMITS)
  return `# Limits

Generated from \`core/limits.ts\` by \`npm run docs\`. Each is checked before anything is parsed or allocated.

${row(['limit', 'value', 'what it protects, and what happens above it'])}
|---|---|---|
${entries.map(([name, limit]) => row([`\`${name}\``, amount(limit), limit.why])).join('\n')}
`
}

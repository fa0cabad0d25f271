/** Columns for people. Machines ask for --json. */
import { safeText, type Paint } from './style.ts'

/** Header and rows, each column as wide as its widest cell; the last column is never padded. */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  paint: Paint = (_style, text) => text,
): string[] {
  const cells = rows.map((row) => row.map(safeText))
  const widths = header.map((title, i) =>
    Math.max(title.length, ...cells.map((row) => (row[i] ?? '').length)),
  )
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd()
  return [paint('dim', line(header)), ...cells.map(line)]
}

export const labelText = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')

/** Durations as people write them: `30m`, `12h`, `7d`, `1h30m`. In code they are milliseconds. */
import * as z from 'zod'

const UNIT = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Milliseconds, or undefined when the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d{1,9}[smhd])+$/.test(text)) return undefined
  let total = 0
  for (const [, amount, unit] of text.matchAll(/(\d+)([smhd])/g))
    total += Number(amount) * UNIT[unit as keyof typeof UNIT]
  return total
}

/** `90000` → `1m30s`; whole seconds only. */
export function formatDuration(ms: number): string {
  let rest = Math.max(0, Math.round(ms / 1000))
  let out = ''
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ] as const) {
    const n = Math.floor(rest / size)
    rest -= n * size
    if (n > 0) out += `${n}${unit}`
  }
  return out || '0s'
}

/** A duration field: text in, milliseconds out. */
export const duration = z.string().transform((text, ctx) => {
  const ms = parseDuration(text)
  if (ms !== undefined) return ms
  ctx.addIssue({ code: 'custom', message: 'use a duration such as 30m, 12h or 7d' })
  return z.NEVER
})

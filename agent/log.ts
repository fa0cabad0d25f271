/**
 * The agent's operational log: one line for each event, as text or JSON, to stderr, stdout or a file. Fields are facts, never
 * secrets; whatever looks like a token of ours is blanked all the same.
 */
import { appendFileSync } from 'node:fs'
import { iso, type Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { LogConfig } from './config.ts'

const RANK = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3 } as const
const SECRET = /pst_(join|key)_[A-Za-z0-9_-]{4,}/g
const redact = (text: string): string => text.replaceAll(SECRET, 'pst_$1_…')

function textField([key, value]: [string, unknown]): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
  return /^[^\s"=]+$/.test(text) ? `${key}=${text}` : `${key}=${JSON.stringify(text)}`
}

function writer(output: string): (line: string) => void {
  if (output === 'stdout') return (line) => void process.stdout.write(line)
  if (output === 'stderr') return (line) => void process.stderr.write(line)
  return (line) => {
    try {
      appendFileSync(output, line, { mode: 0o600 })
    } catch {
      // A full disk must not end the agent; the line is lost, the audit log has its own files.
      process.stderr.write(line)
    }
  }
}

export function createLog(config: LogConfig, clock: Clock): Log {
  const write = writer(config.output)
  const least = RANK[config.severity]
  const at =
    (severity: keyof typeof RANK) =>
    (event: string, fields: Record<string, unknown> = {}): void => {
      if (RANK[severity] < least) return
      const time = iso(clock.now())
      const given = Object.entries(fields).filter(([, value]) => value !== undefined)
      const line =
        config.format === 'json'
          ? JSON.stringify({ time, severity, event, ...Object.fromEntries(given) })
          : [time, severity.padEnd(5), event, ...given.map(textField)].join(' ')
      write(`${redact(line)}\n`)
    }
  return { info: at('INFO'), warn: at('WARN'), error: at('ERROR') }
}

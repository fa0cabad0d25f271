/** A log that tests can wait on: what a part says it did is the event they need. */
import type { Log } from '../../core/log.ts'

export interface LogEntry {
  readonly level: 'info' | 'warn' | 'error'
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}
export interface RecordingLog extends Log {
  readonly entries: readonly LogEntry[]
  /** The first entry of that name that satisfies `want`, past or future. */
  seen(event: string, want?: (entry: LogEntry) => boolean): Promise<LogEntry>
}

export function recordingLog(): RecordingLog {
  const entries: LogEntry[] = []
  const waiting = new Set<(entry: LogEntry) => void>()
  const at =
    (level: LogEntry['level']) =>
    (event: string, fields: Record<string, unknown> = {}): void => {
      const entry = { level, event, fields }
      entries.push(entry)
      for (const look of [...waiting]) look(entry)
    }
  return {
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    entries,
    seen(event, want = () => true) {
      const fits = (entry: LogEntry): boolean => entry.event === event && want(entry)
      const past = entries.find(fits)
      if (past) return Promise.resolve(past)
      return new Promise((resolve) => {
        const look = (entry: LogEntry): void => {
          if (!fits(entry)) return
          waiting.delete(look)
          resolve(entry)
        }
        waiting.add(look)
      })
    },
  }
}

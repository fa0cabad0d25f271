/** Operational log: an event's name and its fields. Never a secret. (The audit log is another thing: core/domain/event.ts.) */
export interface Log {
  info(event: string, fields?: Record<string, unknown>): void
  warn(event: string, fields?: Record<string, unknown>): void
  error(event: string, fields?: Record<string, unknown>): void
}

const nothing = (): void => undefined
export const silentLog: Log = { info: nothing, warn: nothing, error: nothing }

/** The changes of one write, not yet taken over: seen by itself, dropped as a whole when a condition fails. */
import type { Changes } from './write-log.ts'

export interface Rows {
  get(key: string): string | undefined
}
export interface Overlay extends Rows {
  put(key: string, value: string): void
  del(key: string): void
  readonly changes: Changes
}

export function createOverlay(below: Rows): Overlay {
  const changes = new Map<string, string | undefined>()
  return {
    changes,
    get: (key) => (changes.has(key) ? changes.get(key) : below.get(key)),
    put: (key, value) => void changes.set(key, value),
    del: (key) => void changes.set(key, undefined),
  }
}

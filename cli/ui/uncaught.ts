/**
 * For commands that serve: a failure that nobody caught is written down and the service goes on, because one connection's
 * accident must not end everybody's.
 */
import type { Log } from '../../core/log.ts'

export function uncaughtInto(log: Log): void {
  const write = (e: unknown) =>
    log.error('process.uncaught', {
      reason: e instanceof Error ? (e.stack ?? e.message) : String(e),
    })
  process.on('uncaughtException', write)
  process.on('unhandledRejection', write)
}

/**
 * For commands that serve: a failure that nobody caught is written down and the service goes on, because one connection's
 * accident must not end everybody's. Nor must the end of whoever reads the log: a line that cannot be written is lost.
 */
import type { Log } from '../../core/log.ts'

export function uncaughtInto(log: Log): void {
  const write = (e: unknown) =>
    log.error('process.uncaught', {
      reason: e instanceof Error ? (e.stack ?? e.message) : String(e),
    })
  process.on('uncaughtException', write)
  process.on('unhandledRejection', write)
  // Without these an EPIPE is uncaught, is logged, and fails again: for ever, as fast as the processor goes.
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners('error')
    stream.on('error', () => undefined)
  }
}

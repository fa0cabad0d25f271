/** The private listener of a command that serves: metrics of the whole process, and whether it is ready. */
import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import { openDiagnostics, type Health } from '../net/diagnostics.ts'
import { watchProcess } from '../net/process-metrics.ts'
import type { ListenAddress } from './listen.ts'

/** Answers how it is closed. Rejects with ERR_ADDRESS_UNUSABLE. */
export async function serveDiagnostics(
  at: ListenAddress,
  deps: {
    readonly metrics: Metrics
    readonly clock: Clock
    readonly log: Log
    ready(): Health
  },
): Promise<() => Promise<void>> {
  const { metrics, clock, log } = deps
  const opened = await openDiagnostics({
    ...at,
    metrics,
    healthy: () => ({ ok: true, facts: {} }),
    ready: () => deps.ready(),
  })
  const unwatch = watchProcess(metrics, clock)
  log.info('diagnostics.listening', { host: opened.host, port: opened.port })
  return async () => {
    unwatch()
    await opened.close()
  }
}

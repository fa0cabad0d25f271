/** The private listener of a command that serves: metrics of the whole process, and whether it is ready. */
import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import { openDiagnostics, type Health } from '../net/diagnostics.ts'
import { watchProcess } from '../net/process-metrics.ts'
import type { ListenAddress } from './listen.ts'

export interface DiagnosticsParts {
  /** Of this process. */
  readonly metrics: Metrics
  /** The page, where this process is not all there is to show. Default: its own metrics. */
  page?(): string | Promise<string>
  ready(): Health | Promise<Health>
  readonly clock: Clock
  readonly log: Log
}

/** Answers how it is closed. Rejects with ERR_ADDRESS_UNUSABLE. */
export async function serveDiagnostics(
  at: ListenAddress,
  deps: DiagnosticsParts,
): Promise<() => Promise<void>> {
  const { metrics, clock, log } = deps
  const opened = await openDiagnostics({
    ...at,
    page: () => deps.page?.() ?? metrics.render(),
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

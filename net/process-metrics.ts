/** What Prometheus clients tell of every process: memory, CPU, descriptors, and how late the event loop is. */
import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock } from '../core/clock.ts'
import type { Metrics } from '../core/metrics/metrics.ts'
import { VERSION } from '../core/version.ts'

/** How often lateness is looked at, ms. */
const RESOLUTION = 50

function openDescriptors(): number | undefined {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    return undefined
  }
}

/** Call it once, where somebody will read the metrics: watching the event loop costs a timer. */
export function watchProcess(metrics: Metrics, clock: Clock): () => void {
  // It records each interval whole, so the interval itself is taken off again.
  const lag = monitorEventLoopDelay({ resolution: RESOLUTION })
  lag.enable()
  const started = clock.now() / 1000 - process.uptime()
  const forget = metrics.collect((set) => {
    set('postern_build_info', 1, { version: VERSION, node: process.versions.node })
    set('process_resident_memory_bytes', process.memoryUsage.rss())
    const { user, system } = process.cpuUsage()
    set('process_cpu_seconds_total', (user + system) / 1e6)
    set('process_start_time_seconds', started)
    const open = openDescriptors()
    if (open !== undefined) set('process_open_fds', open)
    set('nodejs_eventloop_lag_max_seconds', Math.max(0, lag.max / 1e9 - RESOLUTION / 1000))
    lag.reset()
  })
  return () => {
    lag.disable()
    forget()
  }
}

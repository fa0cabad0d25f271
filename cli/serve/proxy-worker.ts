/** One worker of `postern serve proxy`. Nobody types it: the first process of the proxy starts it and tells it everything. */
import { holdIdentity } from '../../agent/identity/store.ts'
import { createLog } from '../../agent/log.ts'
import { instant, type Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import { createMetrics } from '../../core/metrics/metrics.ts'
import { watchProcess } from '../../net/process-metrics.ts'
import { runWorker } from '../../proxy/workers/worker.ts'
import type { Cli } from '../cli.ts'
import { uncaughtInto } from '../ui/uncaught.ts'
import { openProxyDoor } from './proxy-door.ts'
import type { WorkerGiven } from './proxy-processes.ts'

/** Every line names the worker. */
const named = (log: Log, worker: number): Log => ({
  info: (event, fields) => log.info(event, { worker, ...fields }),
  warn: (event, fields) => log.warn(event, { worker, ...fields }),
  error: (event, fields) => log.error(event, { worker, ...fields }),
})

export function serveProxyWorker(cli: Cli): void {
  if (!process.send) throw new AppError('ERR_USAGE', 'postern serve proxy starts its workers')
  // A terminal's Ctrl-C reaches every process; the first one knows what is to be done.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
  let given: WorkerGiven | undefined
  const clock: Clock = {
    ...cli.clock,
    now: () => instant(cli.clock.now() + (given?.clockOffset ?? 0)),
  }
  const early = createLog({ output: 'stderr', severity: 'INFO', format: 'text' }, clock)
  let log = early
  const late: Log = {
    info: (...line) => log.info(...line),
    warn: (...line) => log.warn(...line),
    error: (...line) => log.error(...line),
  }
  uncaughtInto(late)
  runWorker<WorkerGiven>({
    channel: {
      send: (message) => void process.send?.(message),
      onMessage: (fn) => void process.on('message', fn),
    },
    clock,
    random: cli.random,
    log: late,
    async open(start, { presence, policy, onPolicy, together }) {
      given = start.given
      const { config, cluster } = start.given
      log = named(createLog(config.log, clock), start.worker)
      const metrics = createMetrics()
      watchProcess(metrics, clock)
      let held = holdIdentity('proxy', start.given.stored)
      const door = await openProxyDoor({
        config: config.proxy,
        cluster,
        current: () => held,
        presence,
        policy,
        onPolicy,
        together,
        metrics,
        clock,
        random: cli.random,
        log: late,
      })
      return {
        proxy: door.proxy,
        port: door.port,
        metrics,
        update(next) {
          given = next
          if (next.stored.credentials.x509 === held.stored.credentials.x509) return
          held = holdIdentity('proxy', next.stored)
          door.renewed(held)
        },
        close: () => door.close(),
      }
    },
  })
}

/** `postern up`: puts the parts together in one process, in the order in which they need each other, and takes them apart. */
import { renameSync, statSync } from 'node:fs'
import path from 'node:path'
import { ensurePrivateDir } from '../../agent/identity/files.ts'
import { lockDataDir } from '../../agent/identity/lock.ts'
import { createLog } from '../../agent/log.ts'
import type { Clock } from '../../core/clock.ts'
import { reasonOf } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import { createMetrics } from '../../core/metrics/metrics.ts'
import type { Cli } from '../cli.ts'
import { serveDiagnostics } from '../diagnostics.ts'
import { parseListen } from '../listen.ts'
import { painter } from '../ui/style.ts'
import { uncaughtInto } from '../ui/uncaught.ts'
import { startCluster } from './cluster.ts'
import { localDownloads } from './downloads.ts'
import { signInOwner } from './first-user.ts'
import { hasLocalAgent, startLocalAgent, writeSecondAgent } from './local-agents.ts'
import { isLoopback } from './names.ts'
import { screen } from './screen.ts'
import { closer, untilStopped } from './stopping.ts'

export interface UpOptions {
  readonly dataDir: string
  readonly listen: string
  readonly agent: boolean
  readonly breakGlass?: true | undefined
  readonly diagAddr?: string | undefined
  readonly logFormat: 'text' | 'json'
}

const RENEW_CHECK_MS = 60_000
const LOG_MAX = 16 * 1024 * 1024

/** The operational log, so that the screen stays calm. A long one is set aside at the start. */
function openLog(output: string, format: 'text' | 'json', clock: Clock): Log {
  if ((statSync(output, { throwIfNoEntry: false })?.size ?? 0) > LOG_MAX)
    renameSync(output, `${output}.1`)
  return createLog({ output, severity: 'INFO', format }, clock)
}

export async function up(cli: Cli, options: UpOptions): Promise<void> {
  const { clock, random } = cli
  const listen = parseListen(options.listen)
  const diag =
    options.diagAddr === undefined ? undefined : parseListen(options.diagAddr, '--diag-addr')
  const dataDir = path.resolve(cli.cwd, options.dataDir)
  const stopping = closer()
  try {
    await ensurePrivateDir(dataDir)
    const lock = await lockDataDir(dataDir, random)
    stopping.push(() => lock.release())
    const log = openLog(path.join(dataDir, 'up.log'), options.logFormat, clock)
    uncaughtInto(log)
    const stopped = untilStopped(log)
    log.info('up.start', { pid: process.pid, listen: options.listen })

    const metrics = createMetrics()
    const downloads = localDownloads(path.join(path.dirname(cli.self.script), '../artefacts'))
    const cluster = await startCluster({
      cli,
      dataDir,
      listen,
      log,
      metrics,
      stopping,
      downloads,
    })
    if (diag) {
      const ready = () => cluster.ready()
      const close = await serveDiagnostics(diag, { metrics, clock, log, ready })
      stopping.push(close)
    }
    const breakGlass = options.breakGlass ?? false
    const owner = await signInOwner({ cli, cluster, dataDir, breakGlass })
    stopping.push(() => owner.api.close())
    const deps = { api: owner.api, dataDir, cluster }
    // An owner who may not mint tokens has an agent all the same, if it joined before.
    const may = owner.refused === undefined
    const agent =
      options.agent && (may || hasLocalAgent(dataDir))
        ? await startLocalAgent({ ...deps, cli, log, metrics, stopping, stopped })
        : undefined
    if (may) await writeSecondAgent(deps)

    const renew = (): void => {
      Promise.all([cluster.renew(), owner.renew()]).catch((e: unknown) =>
        log.error('up.renewal_failed', { reason: reasonOf(e) }),
      )
    }
    const renewals = clock.every(RENEW_CHECK_MS, renew)
    stopping.push(() => renewals.cancel())
    stopping.push(cluster.plane.onCaChange(renew))

    const paint = painter(cli.stdout, cli.env.noColor)
    const shown = screen(
      {
        cluster: cluster.plane.cluster,
        origin: cluster.origin,
        cwd: cli.cwd,
        dataDir,
        owner: owner.owner,
        caPins: cluster.plane.caPins,
        newKey: owner.newKey,
        refused: owner.refused,
        agent,
        loopback: isLoopback(listen.host),
      },
      paint,
    )
    for (const line of shown) cli.out(line)
    log.info('up.ready', { origin: cluster.origin })
    await stopped
    cli.note('stopping …')
  } finally {
    await stopping.run(cli)
  }
}

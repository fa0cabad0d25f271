/** `postern serve proxy`: one proxy of several. It joins as any machine does and shares the table with the others. */
import path from 'node:path'
import { ensurePrivateDir } from '../../agent/identity/files.ts'
import { lockDataDir } from '../../agent/identity/lock.ts'
import { createLog } from '../../agent/log.ts'
import { AppError, toAppError } from '../../core/errors.ts'
import { proxyIdOf } from '../../core/ids.ts'
import type { Cli } from '../cli.ts'
import { serveDiagnostics } from '../diagnostics.ts'
import { uncaughtInto } from '../ui/uncaught.ts'
import { closer, untilStopped } from '../up/stopping.ts'
import type { ServeConfig } from './config.ts'
import { ownAddresses } from './proxy-door.ts'
import { joinAsProxy } from './proxy-identity.ts'
import { proxyProcesses } from './proxy-processes.ts'
import { openTable } from './table.ts'

export async function serveProxy(cli: Cli, config: ServeConfig): Promise<void> {
  const { clock: machineClock, random } = cli
  const { publicAddresses, drainTimeout } = config.proxy
  const stopping = closer()
  const ending = new AbortController()
  const { signal } = ending
  try {
    const dir = path.join(config.dataDir, 'proxy')
    await ensurePrivateDir(config.dataDir)
    await ensurePrivateDir(dir)
    const lock = await lockDataDir(dir, random)
    stopping.push(() => lock.release())
    const log = createLog(config.log, machineClock)
    uncaughtInto(log)
    const stopped = untilStopped(log)
    const stop = (): void => ending.abort(new AppError('ERR_TUNNEL_CLOSED', 'the proxy stops'))
    // While it joins there is nothing to drain.
    let joining = true
    void stopped.then(() => joining && stop())
    const table = await openTable(cli, config)
    stopping.push(() => table.close())
    const identity = await joinAsProxy(cli, config, { dir, log, signal })
    joining = false
    stopping.push(() => identity.api.close())
    const proxy = await proxyProcesses({
      ...{ cli, config, identity, dir, log },
      presence: table.presence(),
    })
    stopping.push(() => proxy.close())
    if (config.diag)
      stopping.push(
        await serveDiagnostics(config.diag, { ...proxy.diagnostics, clock: identity.clock, log }),
      )
    let refused: AppError | undefined
    const kept = identity
      .keep(() => proxy.renewed())
      .catch((e: unknown) => {
        if (!signal.aborted) refused = toAppError(e)
      })
    const port = await Promise.race([proxy.start(), stopped])
    if (port === undefined) return
    const id = proxyIdOf(identity.current().agentId)
    cli.out(`proxy ${id} at ${publicAddresses[0] ?? ownAddresses(config.proxy, port)[0] ?? ''}`)
    log.info('proxy.listening', { proxyId: id, port })
    await Promise.race([stopped, kept])
    await proxy.drain(drainTimeout)
    stop()
    await kept
    if (refused) throw refused
  } finally {
    ending.abort()
    await stopping.run(cli)
  }
}

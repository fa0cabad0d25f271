/** `postern agent start -c FILE`: the agent in the foreground, until SIGINT or SIGTERM. SIGHUP reads the file again. */
import path from 'node:path'
import { createLog } from '../../agent/log.ts'
import { startAgent } from '../../agent/main.ts'
import { AppError, reasonOf, type ErrorCode } from '../../core/errors.ts'
import { stayAwake } from '../../net/stay-awake.ts'
import type { Cli } from '../cli.ts'
import { uncaughtInto } from '../ui/uncaught.ts'

/** Refusals of every service end the command, so that a supervisor sees it; what may pass keeps it running. */
export async function agentStart(cli: Cli, options: { readonly config: string }): Promise<void> {
  const configPath = path.resolve(cli.cwd, options.config)
  const agent = await startAgent({ configPath, clock: cli.clock, random: cli.random })
  const log = createLog(agent.config.log, cli.clock)
  uncaughtInto(log)
  const reload = () =>
    void agent.reload().then(
      () => log.info('agent.reloaded', { config: configPath }),
      (e: unknown) => log.error('agent.reload_refused', { reason: reasonOf(e) }),
    )
  process.on('SIGHUP', reload)
  const rest = stayAwake()
  let code: ErrorCode | undefined
  await new Promise<void>((resolve) => {
    let asked = false
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        if (asked) process.exit(130)
        asked = true
        resolve()
      })
    const ended = () => {
      const states = [...agent.services.values()]
      if (!states.every((s) => s.state === 'failed' || s.state === 'stopped')) return
      const failed = states.find((s) => s.state === 'failed')
      code = failed?.error.code
      resolve()
    }
    agent.onState(ended)
    ended()
  })
  await agent.stop()
  rest()
  if (code !== undefined) throw new AppError(code, 'every service of this agent was refused')
}

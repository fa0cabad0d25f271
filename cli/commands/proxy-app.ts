/** `postern proxy app NAME`: a local port that leads to an app, until it is interrupted. */
import { isResourceName } from '../../core/domain/name.ts'
import { requireCurrent } from '../client.ts'
import type { Cli } from '../cli.ts'
import { listenApp } from '../connect/app.ts'
import { openProxySession } from '../connect/session.ts'
import type { ProfileOptions } from '../host.ts'
import { parseListen } from '../listen.ts'
import { openProfile } from '../profiles.ts'
import { usage } from '../ui/report.ts'
import { safeText } from '../ui/style.ts'

export async function proxyApp(
  cli: Cli,
  name: string,
  options: ProfileOptions & { readonly listen: string },
): Promise<void> {
  if (!isResourceName(name)) throw usage(`proxy app: "${name}" cannot be the name of an app`)
  const at = parseListen(options.listen)
  const profile = await openProfile(cli, options)
  requireCurrent(cli, profile)
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => stop.abort())
  const session = openProxySession({
    profile,
    clock: cli.clock,
    random: cli.random,
    httpsProxy: cli.env.httpsProxy,
    signal: stop.signal,
  })
  try {
    const listener = await listenApp({
      session,
      name,
      host: at.host,
      port: at.port,
      onError: (error) => cli.note(`error: ${safeText(error.message)}`),
    })
    // The address alone on stdout, so that a script can read it; the words are for people.
    cli.out(
      `${listener.host.includes(':') ? `[${listener.host}]` : listener.host}:${listener.port}`,
    )
    cli.note(`leads to ${name}; Ctrl-C stops it`)
    await new Promise<void>((resolve) => {
      stop.signal.addEventListener('abort', () => resolve(), { once: true })
    })
    await listener.close()
  } finally {
    session.close()
  }
}

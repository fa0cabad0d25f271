/** From a route to the agent's own word, through everything: what a session would do, without the session. */
import { systemClock } from '../../core/clock.ts'
import { AppError, isAppError, reasonOf } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import type { Cli } from '../cli.ts'
import { openInner } from '../connect/inner-tls.ts'
import type { StoredProfile } from '../connect/profile.ts'
import { openProxySession, type OpenedResource, type ResourceName } from '../connect/session.ts'
import { Problem, type Examination } from './examination.ts'

interface ResourceDeps {
  readonly cli: Cli
  readonly exam: Examination
  readonly profile: StoredProfile
  readonly resource: string
}

function nameOf(text: string): ResourceName {
  const [kind, name] = text.includes('/')
    ? (text.split('/', 2) as [string, string])
    : ['node', text]
  return { kind: kind === 'app' ? 'app' : 'node', name }
}

const FIXES: Readonly<Record<string, string>> = {
  ERR_NOT_FOUND:
    'postern ls shows what there is for you; ask an operator for a role that matches its labels',
  ERR_RESOURCE_OFFLINE:
    'its agent is not connected: run postern doctor -c /etc/postern.yaml on that machine',
  ERR_ACCESS_DENIED: 'ask an operator for a role that matches its labels and your login',
  ERR_UPSTREAM_UNREACHABLE:
    'the agent is there but the app behind it does not answer: look at the app',
}

function problem(cause: unknown): Problem {
  const code = isAppError(cause) ? cause.code : 'ERR_INTERNAL'
  const fix = FIXES[code] ?? (isAppError(cause) ? cause.kind.hint : 'try again')
  return new Problem(isAppError(cause) ? cause.message : reasonOf(cause), fix, { cause })
}

/** The first line of the agent's SSH server. */
function banner(stream: TunnelStream, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const fail = (e: unknown): void => reject(e instanceof Error ? e : new AppError('ERR_TIMEOUT'))
    signal.addEventListener('abort', () => fail(signal.reason), { once: true })
    stream.ondata = (bytes) => {
      stream.consumed(bytes.length)
      text += bytes.toString('latin1')
      const end = text.indexOf('\r\n')
      if (end >= 0) resolve(text.slice(0, end))
      else if (text.length > 255) fail(new AppError('ERR_STREAM_RESET', 'it does not speak SSH'))
    }
    stream.onclose = (err) => fail(err ?? new AppError('ERR_STREAM_RESET'))
    stream.start()
  })
}

export async function examineResource(
  { cli, exam, profile, resource }: ResourceDeps,
  needs: readonly boolean[],
): Promise<void> {
  const name = nameOf(resource)
  const target = `${name.kind}/${name.name}`
  const { clock, random } = cli
  const session = openProxySession({ profile, clock, random, httpsProxy: cli.env.httpsProxy })
  const enough = new AbortController()
  const timer = systemClock.after(LIMITS.openTimeout.value, () =>
    enough.abort(new AppError('ERR_TIMEOUT', 'the agent did not answer in time')),
  )
  const { signal } = enough
  let opened: OpenedResource | undefined
  try {
    const routed = await exam.check(
      'route',
      target,
      async () => {
        opened = await session.open(name, signal).catch((e: unknown) => {
          throw problem(e)
        })
        return `served by ${opened.route.agentIds.join(', ')}`
      },
      needs,
    )
    await exam.check(
      'end to end',
      target,
      async () => {
        if (!opened) throw new AppError('ERR_INTERNAL')
        const { stream, route } = opened
        const said =
          name.kind === 'node'
            ? banner(stream, signal)
            : openInner({ stream, route, profile, name: name.name, clock, signal }).then(
                (socket) => {
                  socket.destroy()
                  return 'the agent proved itself and reached the app'
                },
              )
        return said.catch((e: unknown) => {
          throw problem(e)
        })
      },
      [routed],
    )
  } finally {
    timer.cancel()
    opened?.stream.reset()
    session.close()
  }
}

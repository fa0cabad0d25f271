/**
 * `postern proxy ssh %h:%p`: stdin and stdout of this process joined to a stream, for OpenSSH's ProxyCommand. Imported on every
 * ssh, so it imports little.
 */
import { fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { systemClock } from '../../core/clock.ts'
import { AppError, badField } from '../../core/errors.ts'
import { gatherInto } from '../../core/tunnel/gather.ts'
import type { TunnelStream } from '../../core/tunnel/stream.ts'
import { whenOrphaned } from './parent.ts'
import { loadProfile } from './profile.ts'
import { openProxySession, type ResourceName } from './session.ts'
import type { ForwardProxy } from '../../net/forward-proxy.ts'
import { readInto } from '../../net/read-into.ts'

export interface StdioOptions {
  readonly profileDir: string
  /** `web-1:22`, `web-1.<cluster>:22`, `web-1`: what %h:%p gave. The port is not looked at. */
  readonly target: string
  readonly kind?: ResourceName['kind'] | undefined
  readonly httpsProxy?: ForwardProxy | undefined
  /** For tests; the default is this process's own. */
  readonly stdin?: Readable | undefined
  readonly stdout?: Writable | undefined
}

/** The resource's name in what ssh was given as host and port. Throws ERR_INPUT_INVALID. */
export function nameOf(target: string, cluster: string): string {
  const host = target.toLowerCase().replace(/:\d{1,5}$/, '')
  const suffix = `.${cluster}`
  const name = host.endsWith(suffix) ? host.slice(0, -suffix.length) : host
  if (!/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(name))
    throw badField('host', 'use the name of a node, as postern ls shows it')
  return name
}

/**
 * The pipe ssh gave us, without process.stdin and process.stdout: Node writes to a standard output that is a pipe
 * synchronously, and an ssh that does not read would then freeze the tunnel's keep-alive as well. Anything else than a pipe or
 * socket (a terminal, a file) is left to Node.
 */
function standard(fd: 0 | 1): Socket | undefined {
  const kind = fstatSync(fd)
  if (!kind.isFIFO() && !kind.isSocket()) return undefined
  return new Socket({ fd, readable: fd === 0, writable: fd === 1, allowHalfOpen: true })
}

/**
 * Joins the stream to the two halves. The end of stdin ends our direction only; the end of the stream ends stdout. Resolves when
 * the stream is over and stdout has taken everything. A reader of stdout that is gone (EPIPE) is an end, not an error: ssh
 * closed the connection.
 */
export function joinStdio(stream: TunnelStream, stdin: Readable, stdout: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    let owed = 0
    let gone = false
    const leave = (): void => {
      gone = true
      stream.reset('ERR_STREAM_RESET', 'the local end is gone')
    }
    stdout.on('error', leave)
    stdout.on('drain', () => {
      stream.consumed(owed)
      owed = 0
    })
    stdin.on('error', leave)
    if (stdin instanceof Socket)
      readInto(stdin, (bytes) => {
        if (!stream.writeCopy(bytes)) stdin.pause()
      })
    else
      stdin.on('data', (bytes: Buffer) => {
        if (!stream.write(bytes)) stdin.pause()
      })
    stdin.on('end', () => stream.end())
    stream.ondrain = () => stdin.resume()
    const gather = gatherInto(stdout, (room, bytes) => {
      if (room) stream.consumed(bytes)
      else owed += bytes
    })
    stream.borrows = true
    stream.ondata = (bytes) => gather.push(bytes)
    stream.onend = () => {
      gather.flush()
      stdout.end()
    }
    stream.onclose = (error) => {
      stdin.destroy()
      if (!stdout.destroyed && !stdout.writableEnded) gather.flush()
      if (gone) return resolve()
      if (error) {
        stdout.destroy()
        return reject(error)
      }
      if (stdout.writableFinished || stdout.destroyed) return resolve()
      stdout.once('close', resolve)
      stdout.once('finish', resolve)
      stdout.end()
    }
    stream.start()
  })
}

/** Resolves when both directions are done. Rejects with the AppError to be shown; its kind has the exit code. */
export async function runStdio(options: StdioOptions): Promise<void> {
  const profile = await loadProfile(options.profileDir)
  const name = nameOf(options.target, profile.cluster)
  const ending = new AbortController()
  const session = openProxySession({
    profile,
    signal: ending.signal,
    httpsProxy: options.httpsProxy,
  })
  const stdin = options.stdin ?? standard(0) ?? process.stdin
  const stdout = options.stdout ?? standard(1) ?? process.stdout
  // ssh may leave while we are still dialling.
  const early = (): void => ending.abort(new AppError('ERR_STREAM_RESET', 'ssh is gone'))
  stdout.once('error', early)
  const orphaned = whenOrphaned(
    () => process.ppid,
    systemClock,
    () => stdout.destroy(new AppError('ERR_STREAM_RESET', 'ssh is gone')),
  )
  try {
    const { stream } = await session.open({ kind: options.kind ?? 'node', name })
    stdout.off('error', early)
    await joinStdio(stream, stdin, stdout)
  } finally {
    orphaned.cancel()
    stdin.destroy()
    session.close()
  }
}

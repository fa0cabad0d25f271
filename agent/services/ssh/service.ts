/**
 * The ssh service: an SSH server in the agent. Stock OpenSSH clients speak to it end to end through the tunnel; the user's
 * certificate decides who they are, `decide()` what they may do, and sessions run as the unix user they asked for.
 */
import { createPrivateKey } from 'node:crypto'
import { exportSshPrivateKey } from '../../../core/certs/ssh-private-key.ts'
import { invariant, reasonOf } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'
import type { AgentService, ServiceContext, ServiceStream } from '../service.ts'
import { entryOf, sourceEntry } from './entry.ts'
import { forbidTracing, giveMemoryBack } from './helper/libc.ts'
import type { Environment, Start } from './messages.ts'
import { relay } from './relay.ts'
import { createWorkerPool } from './worker-pool.ts'

export interface SshServiceOptions {
  /**
   * Software version in our SSH identification. OpenSSH tells a server that its output is not read any more only when the
   * name starts with `OpenSSH`. Default `OpenSSH_9.9-Postern`.
   */
  readonly ident?: string
  /** Environment variables a client may set, besides LANG, LC_* and a few of terminals. Exact names. Default none. */
  readonly acceptEnv?: readonly string[]
  /** PATH of sessions of ordinary users, and of root. Default the usual directories. */
  readonly path?: string
  readonly rootPath?: string
  /** Idle workers kept ready while the service is in use, so that a login does not wait for one. Default 1. */
  readonly spareWorkers?: number
  /** Paths of the two entry files. Default: beside this module, bundled or as sources. */
  readonly entries?: { readonly worker: string; readonly helper: string }
  /** Path of sftp-server. Default: the first of the paths that distributions use. */
  readonly sftpServer?: string
}

/** After the start, and after the last session: what those took is free by then. */
const SETTLED_MS = 30_000

const IDENT = 'OpenSSH_9.9-Postern'
const PATH = '/usr/local/bin:/usr/bin:/bin'
const ROOT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export function createSshService(
  ctx: ServiceContext,
  options: SshServiceOptions = {},
): AgentService {
  // A session's user must not read the host key out of this process. Only root has others to fear.
  if (process.getuid?.() === 0) forbidTracing()
  const { entries } = options
  const workerEntry = entries ? sourceEntry(entries.worker) : entryOf('ssh-worker')
  const helper = entries ? sourceEntry(entries.helper) : entryOf('ssh-session-helper')
  const pool = createWorkerPool(workerEntry, options.spareWorkers ?? 1, ctx.clock)
  const stopping = new AbortController()
  const live = new Set<Promise<void>>()
  const whenSettled = () => ctx.clock.after(SETTLED_MS, giveMemoryBack)
  let settling = whenSettled()
  function forget(session: Promise<void>): void {
    live.delete(session)
    if (live.size > 0 || stopping.signal.aborted) return
    settling.cancel()
    settling = whenSettled()
  }

  const environmentOf = (stream: ServiceStream): Environment => ({
    acceptEnv: options.acceptEnv ?? [],
    path: options.path ?? PATH,
    rootPath: options.rootPath ?? ROOT_PATH,
    source: sourceOf(stream.claimedSource),
  })

  function startOf(stream: ServiceStream): Omit<Start, 'bytes' | 'helperSockets'> {
    const { keyPem, sshHostCert, cluster } = ctx.credential()
    invariant(sshHostCert !== undefined, 'the ssh service has a host certificate')
    return {
      ident: options.ident ?? IDENT,
      hostKey: exportSshPrivateKey(createPrivateKey(keyPem)),
      hostCertificate: Buffer.from(sshHostCert.split(' ')[1] ?? '', 'base64'),
      userCas: ctx.policy.userCas().sshBlobs,
      cluster,
      user: stream.identity.user,
      helper,
      sftpServer: options.sftpServer,
      environment: environmentOf(stream),
    }
  }

  return {
    kind: 'ssh',
    want: ({ kind, name }) =>
      kind === 'node' && name === ctx.credential().nodeName
        ? { kind: 'node', labels: ctx.nodeLabels(), login: undefined }
        : undefined,
    async serve(stream, signal) {
      if (live.size >= LIMITS.sshConnections.value || stopping.signal.aborted) {
        ctx.log.warn('ssh.too_many', { session: stream.sessionId })
        stream.duplex.destroy()
        return
      }
      const either = AbortSignal.any([signal, stopping.signal])
      try {
        const session = relay(ctx, stream, pool.take(), startOf(stream), either)
        live.add(session)
        await session.finally(() => forget(session))
      } catch (e) {
        ctx.log.error('ssh.failed', { session: stream.sessionId, reason: reasonOf(e) })
        stream.duplex.destroy()
      }
    },
    async close() {
      stopping.abort()
      settling.cancel()
      await Promise.all([...live, pool.close()])
    },
  }
}

/** `host:port` as the proxy gives it, in whatever form; unusable text becomes an address that says nothing. */
function sourceOf(claimed: string | undefined): Environment['source'] {
  const match = /^\[?([0-9a-fA-F.:]{2,45}?)\]?(?::(\d{1,5}))?$/.exec(claimed ?? '')
  return { host: match?.[1] ?? '0.0.0.0', port: Number(match?.[2] ?? 0) }
}

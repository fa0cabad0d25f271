/** The processes of one proxy: this one alone, or workers that this one starts and speaks for. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { StoredIdentity } from '../../agent/identity/store.ts'
import { ensurePrivateDir } from '../../agent/identity/files.ts'
import type { Policy } from '../../core/domain/policy.ts'
import type { PresenceStore } from '../../core/domain/presence.ts'
import type { Log } from '../../core/log.ts'
import { createMetrics, renderDump } from '../../core/metrics/metrics.ts'
import { apiPolicySource } from '../../proxy/policy-source.ts'
import { usableCores } from '../../proxy/workers/cores.ts'
import { createWorkers } from '../../proxy/workers/workers.ts'
import type { Cli } from '../cli.ts'
import type { DiagnosticsParts } from '../diagnostics.ts'
import type { ServeConfig } from './config.ts'
import { openProxyDoor } from './proxy-door.ts'
import type { ServedIdentity } from './proxy-identity.ts'

/** What a worker is told, at its start and whenever something of it is new. */
export interface WorkerGiven {
  readonly config: Pick<ServeConfig, 'log' | 'proxy'>
  readonly cluster: { readonly cluster: string; readonly api: string }
  readonly stored: StoredIdentity
  /** Milliseconds: the clock of the control plane minus this machine's. */
  readonly clockOffset: number
}

export interface ProxyProcesses {
  /** Resolves with the port when the proxy takes tunnels. */
  start(): Promise<number>
  /** The identity was renewed. */
  renewed(): void
  readonly diagnostics: Pick<DiagnosticsParts, 'metrics' | 'page' | 'ready'>
  drain(ms: number): Promise<void>
  close(): Promise<void>
}

export interface ProcessesParts {
  readonly cli: Cli
  readonly config: ServeConfig
  readonly identity: ServedIdentity
  readonly presence: PresenceStore
  /** Private to this proxy. */
  readonly dir: string
  readonly log: Log
}

export async function proxyProcesses(parts: ProcessesParts): Promise<ProxyProcesses> {
  const { workers } = parts.config.proxy
  const count = workers === 'auto' ? usableCores() : workers
  parts.log.info('proxy.workers', { count, asked: workers })
  return count === 1 ? alone(parts) : several(parts, count)
}

const onPolicy =
  ({ identity }: ProcessesParts) =>
  (policy: Policy): void =>
    identity.cas.takePolicy(policy)

async function alone(parts: ProcessesParts): Promise<ProxyProcesses> {
  const { cli, config, identity, presence, log } = parts
  const metrics = createMetrics()
  const door = await openProxyDoor({
    config: config.proxy,
    cluster: identity.cluster,
    current: () => identity.current(),
    presence,
    policy: apiPolicySource(identity.api),
    onPolicy: onPolicy(parts),
    metrics,
    clock: identity.clock,
    random: cli.random,
    log,
  })
  const { proxy, port } = door
  metrics.collect((set) => {
    set('postern_proxy_workers', 1)
    set('postern_proxy_worker_restarts_total', 0)
  })
  return {
    async start() {
      await proxy.start()
      return port
    },
    renewed: () => door.renewed(identity.current()),
    diagnostics: {
      metrics,
      page: () => metrics.render(),
      ready: () => proxy.ready(),
    },
    drain: (ms) => proxy.drain(ms),
    async close() {
      await proxy.close()
      await door.close()
    },
  }
}

/** A path longer than this is no address of a unix socket (sun_path has 108 bytes, with `/9999999.sock` behind it). */
const PATH_MAX = 90

/** Where the workers' sockets are: nobody but this user may enter. */
async function socketsDir(dir: string): Promise<string> {
  const own = path.join(dir, 'workers')
  if (Buffer.byteLength(own) > PATH_MAX) return mkdtempSync(path.join(tmpdir(), 'postern-'))
  rmSync(own, { recursive: true, force: true })
  await ensurePrivateDir(own)
  return own
}

async function several(parts: ProcessesParts, count: number): Promise<ProxyProcesses> {
  const { cli, config, identity, presence, log } = parts
  const metrics = createMetrics()
  const dir = await socketsDir(parts.dir)
  const { log: logConfig, proxy } = config
  const offset = (): number => identity.api.clockOffset
  const workers = createWorkers<WorkerGiven>({
    count,
    program: { exec: cli.self.program, args: ['serve', 'proxy-worker'] },
    dir,
    presence,
    policy: apiPolicySource(identity.api),
    given: () => ({
      config: { log: logConfig, proxy },
      cluster: { cluster: identity.cluster.cluster, api: identity.cluster.api },
      stored: identity.current().stored,
      clockOffset: offset(),
    }),
    onPolicy: onPolicy(parts),
    metrics,
    clock: identity.clock,
    random: cli.random,
    log,
  })
  let known = offset()
  const follow = identity.clock.every(1000, () => {
    if (known === offset()) return
    known = offset()
    workers.update()
  })
  return {
    start: () => workers.start(),
    renewed: () => workers.update(),
    diagnostics: {
      metrics,
      page: async () => renderDump(await workers.dump()),
      ready: () => workers.ready(),
    },
    drain: (ms) => workers.drain(ms),
    async close() {
      follow.cancel()
      await workers.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/**
 * One service of the agent from its first join to its end: identity, renewal, announcement, audit upload, tunnel. What refuses it
 * for good stops it alone.
 *
 * An identity is of one service, and a proxy learns the service from it, so each service has a tunnel of its own to each proxy.
 * One proxy is dialled for now; the second one that the design asks for is one more `keepConnected` here.
 */
import { roleOfService, type ServiceKind } from '../core/domain/service.ts'
import { iso, sleep, type Clock } from '../core/clock.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import type { Log } from '../core/log.ts'
import { apiClient, type ApiClient } from '../net/http-client.ts'
import { uploadEvents } from './audit/upload.ts'
import { openSpool, type Spool } from './audit/spool.ts'
import type { Announced } from './announce.ts'
import { createAnnouncer, type Announcer } from './announce.ts'
import type { ClusterFinder, ClusterInfo } from './cluster.ts'
import type { HeldIdentity, IdentityStore } from './identity/store.ts'
import type { EvidenceCollector } from './join/collector.ts'
import { joinOnce } from './join/join.ts'
import { renewalDelay, renewOnce } from './renew.ts'
import { retrying } from './retry.ts'
import { keepTunnel, type TunnelKeeperDeps } from './tunnel.ts'
import type { ServiceState } from './service-state.ts'
import type { AgentService } from './services/service.ts'

export interface RunnerDeps extends Omit<TunnelKeeperDeps, 'held' | 'kind' | 'service' | 'audit'> {
  readonly kind: ServiceKind
  readonly nodeName: string
  readonly serviceDir: string
  readonly store: IdentityStore
  readonly finder: ClusterFinder
  /** Live: a reload may bring another token. */
  collector(): EvidenceCollector
  /** Corrected by what the control plane says the time is. */
  readonly clock: Clock
  /** As the machine has it: API clients find the correction by themselves. */
  readonly machineClock: Clock
  readonly random: Random
  readonly log: Log
  readonly httpsProxy: string | undefined
  createService(runner: ServiceParts): AgentService
  /** What this service serves now. */
  readonly announced: () => Announced
  onState(state: ServiceState): void
  /** Called with every identity that comes into force. */
  onIdentity(held: HeldIdentity): Promise<void>
}

/** What a service is built from. */
export interface ServiceParts {
  readonly held: () => HeldIdentity
  readonly spool: Spool
}

export interface ServiceRunner {
  readonly kind: ServiceKind
  readonly held: HeldIdentity | undefined
  /** Signs as this service; undefined before it has joined. */
  readonly api: ApiClient | undefined
  /** What is announced changed. `now`: a person changed the configuration. */
  changed(now: boolean): void
  /** Ends sessions and tunnels. Resolves when everything is closed. */
  stop(): Promise<void>
  readonly ended: Promise<void>
}

/** Timers stand still while a machine sleeps, so the wall clock is looked at every ten minutes, ms. */
const LOOK_AGAIN = 600_000

/** A lock may be lifted again, so it is waited out; whatever else the caller must change ends the service. */
const isFatal = (error: AppError): boolean => !error.kind.retryable && error.code !== 'ERR_LOCKED'

export function startRunner(deps: RunnerDeps): ServiceRunner {
  const { kind, clock, random, log, store, finder, httpsProxy } = deps
  const abort = new AbortController()
  const { signal } = abort
  let held: HeldIdentity | undefined
  let api: ApiClient | undefined
  let announcer: Announcer | undefined

  /** Not before the first tunnel: what happens later shows in the state of the tunnel. */
  let joining = true

  const onRetry =
    (what: string) =>
    (error: AppError, pause: number): void => {
      log.warn(`${what}.retry`, {
        service: kind,
        code: error.code,
        message: error.message,
        reason: error.internal,
        retry_in_ms: pause,
      })
      if (joining) deps.onState({ state: 'joining', error })
    }

  async function hold(next: HeldIdentity): Promise<HeldIdentity> {
    held = next
    await deps.onIdentity(next)
    return next
  }

  async function join(): Promise<HeldIdentity> {
    const joined = await retrying(
      async (s) => {
        const cluster = await finder.refresh(s)
        const client = apiClient({
          baseUrl: cluster.api,
          trust: cluster.trust,
          clock: deps.machineClock,
          random,
          proxy: httpsProxy,
        })
        try {
          return await joinOnce({
            ...deps,
            service: kind,
            cluster,
            api: client,
            collector: deps.collector(),
            signal: s,
          })
        } finally {
          client.close()
        }
      },
      { clock, random, signal, isFatal, onRetry: onRetry('join') },
    )
    log.info('agent.joined', { service: kind, agent: joined.agentId, node: deps.nodeName })
    return hold(joined)
  }

  /** The identity on disk, or a fresh join. With a valid one the token is not even read. */
  async function identity(): Promise<HeldIdentity> {
    const found = await store.load(kind)
    if (!found) return join()
    if (found.expires > clock.now()) {
      if (found.stored.node_name !== deps.nodeName)
        log.warn('agent.nodename_kept', {
          service: kind,
          joined_as: found.stored.node_name,
          configured: deps.nodeName,
          hint: 'another nodename needs a fresh join: delete data_dir',
        })
      return hold(found)
    }
    return rejoin(found)
  }

  /** After an identity has expired: a stopped or sleeping machine. The same enrolment key gives the same agent back. */
  async function rejoin(expired: HeldIdentity): Promise<HeldIdentity> {
    const since = iso(expired.expires)
    log.warn('agent.identity_expired', { service: kind, since })
    try {
      return await join()
    } catch (e) {
      if (toAppError(e).code !== 'ERR_TOKEN_NEEDED') throw e
      const text = `the identity of service ${kind} expired at ${since}: set auth_token to a fresh token (postern tokens add)`
      throw new AppError('ERR_TOKEN_NEEDED', text, { cause: e })
    }
  }

  async function renewals(cluster: ClusterInfo, client: ApiClient): Promise<void> {
    while (!signal.aborted) {
      const now = held
      if (!now) return
      const due = clock.now() + renewalDelay(now, clock, random)
      while (clock.now() < due) await sleep(clock, Math.min(due - clock.now(), LOOK_AGAIN), signal)
      if (now.expires <= clock.now()) {
        await rejoin(now)
        continue
      }
      await hold(
        await retrying(
          (s) => renewOnce({ held: now, cluster, api: client, store, clock, signal: s }),
          {
            clock,
            random,
            signal,
            // Once it has expired there is nothing left to renew.
            isFatal: (error) => isFatal(error) || now.expires <= clock.now(),
            onRetry: onRetry('renewal'),
          },
        ).catch((e: unknown) => {
          if (signal.aborted || now.expires > clock.now()) throw e
          return rejoin(now)
        }),
      )
      log.info('agent.renewed', { service: kind, generation: held?.stored.credentials.generation })
    }
  }

  async function life(): Promise<void> {
    const spool = await openSpool({ dataDir: deps.serviceDir, clock, random, log })
    try {
      deps.onState({ state: 'joining', error: undefined })
      await identity()
      joining = false
      const current = (): HeldIdentity => {
        if (held) return held
        throw new AppError('ERR_INTERNAL', undefined, { internal: 'a service before its identity' })
      }
      const cluster = await retrying((s) => finder.find(s), { clock, random, signal })
      const client = apiClient({
        baseUrl: cluster.api,
        trust: cluster.trust,
        cluster: cluster.cluster,
        identity: current,
        clock: deps.machineClock,
        random,
        proxy: httpsProxy,
      })
      api = client
      const service = deps.createService({ held: current, spool })
      announcer = createAnnouncer({
        resources: deps.announced,
        send: async (resources, s) => {
          await client.request('POST', '/v1/agents/self/resources', { resources }, { signal: s })
        },
        onRefused: (e) =>
          log.error('announce.refused', { service: kind, code: e.code, message: e.message }),
        onRetry: (e) => log.warn('announce.retry', { service: kind, code: e.code }),
        onDone: () => log.info('announce.done', { service: kind }),
        clock,
        random,
        signal,
      })
      const upload = uploadEvents({
        spool,
        send: async (events, s) => {
          await client.request('POST', '/v1/agents/self/events', { events }, { signal: s })
        },
        clock,
        random,
        log,
        signal,
      })
      try {
        // The first of these that fails for good ends the service; none of them ends by itself.
        await Promise.all([
          renewals(cluster, client),
          announcer.run(),
          upload,
          keepTunnel({ ...deps, held: current, service, signal, audit: (e) => spool.append(e) }),
        ])
      } finally {
        abort.abort(new AppError('ERR_TUNNEL_CLOSED', 'the service has ended'))
        await service.close()
        client.close()
      }
    } finally {
      spool.close()
    }
  }

  let stopping = false
  const ended = life().then(
    () => deps.onState({ state: 'stopped' }),
    (e: unknown) => {
      if (stopping) return deps.onState({ state: 'stopped' })
      const error = toAppError(e)
      log.error('service.failed', {
        service: kind,
        code: error.code,
        message: explain(kind, error),
        reason: error.internal === undefined ? undefined : reasonOf(error),
        hint: error.kind.hint,
      })
      deps.onState({ state: 'failed', error })
    },
  )

  return {
    kind,
    get held() {
      return held
    },
    get api() {
      return api
    },
    changed: (now) => announcer?.changed(now),
    stop() {
      stopping = true
      abort.abort(new AppError('ERR_TUNNEL_CLOSED', 'the agent stops'))
      return ended
    },
    ended,
  }
}

/** One line that names the service and, when the token does not allow it, what the token is for. */
function explain(kind: ServiceKind, error: AppError): string {
  if (error.code !== 'ERR_JOIN_SERVICE_NOT_ALLOWED') return `service ${kind}: ${error.message}`
  const roles = error.details?.roles?.join(', ') ?? 'other services'
  return `service ${kind} needs a token with role ${roleOfService(kind)}; this token is for ${roles}`
}

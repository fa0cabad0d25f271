/**
 * One service of the agent from its first join to its end: identity, renewal, announcement, audit upload, tunnel. What refuses it
 * for good stops it alone.
 *
 * An identity is of one service, and a proxy learns the service from it, so each service has a tunnel of its own to each proxy.
 * One proxy is dialled for now; the second one that the design asks for is one more `keepConnected` here.
 */
import { roleOfService, type ServiceKind } from '../core/domain/service.ts'
import { AppError, reasonOf, toAppError } from '../core/errors.ts'
import { apiClient, type ApiClient } from '../net/http-client.ts'
import { uploadEvents } from './audit/upload.ts'
import { openSpool, type Spool } from './audit/spool.ts'
import type { Announced } from './announce.ts'
import { createAnnouncer, type Announcer } from './announce.ts'
import { createEnrolment, type EnrolmentDeps } from './enrolment.ts'
import type { HeldIdentity } from './identity/store.ts'
import { retrying } from './retry.ts'
import { keepTunnel, type TunnelKeeperDeps } from './tunnel.ts'
import type { ServiceState } from './service-state.ts'
import type { AgentService } from './services/service.ts'

export interface RunnerDeps
  extends
    Omit<TunnelKeeperDeps, 'held' | 'service' | 'audit'>,
    Omit<EnrolmentDeps, 'kind' | 'hold' | 'held' | 'keeper' | 'onWaiting' | 'signal'> {
  readonly serviceDir: string
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
}

export function startRunner(deps: RunnerDeps): ServiceRunner {
  const { kind, clock, random, log, finder, httpsProxy } = deps
  const abort = new AbortController()
  const { signal } = abort
  let held: HeldIdentity | undefined
  let api: ApiClient | undefined
  let announcer: Announcer | undefined
  /** Not after the first tunnel: what happens then shows in the state of the tunnel. */
  let joining = true

  /** Online means that users find us too: the tunnel's word waits for the first announcement. */
  let announced = false
  let waiting: ServiceState | undefined

  function tunnelState(state: ServiceState): void {
    waiting = state.state === 'online' && !announced ? state : undefined
    if (!waiting) deps.onState(state)
  }
  function known(): void {
    announced = true
    if (waiting) tunnelState(waiting)
  }

  const enrolment = createEnrolment({
    ...deps,
    signal,
    async hold(next) {
      held = next
      await deps.onIdentity(next)
    },
    held: () => held,
    onWaiting: (error) => {
      if (joining) deps.onState({ state: 'joining', error })
    },
  })

  async function life(): Promise<void> {
    const spool = await openSpool({ dataDir: deps.serviceDir, clock, random, log })
    try {
      deps.onState({ state: 'joining', error: undefined })
      await enrolment.identity()
      joining = false
      const current = (): HeldIdentity => {
        if (held) return held
        throw new AppError('ERR_INTERNAL', undefined, { internal: 'a service before its identity' })
      }
      const cluster = await retrying((s) => finder.find(s), { clock, random, signal })
      const client = apiClient({
        baseUrl: cluster.api,
        trust: () => cluster.trust,
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
        onRefused: (e) => {
          log.error('announce.refused', { service: kind, code: e.code, message: e.message })
          known()
        },
        onRetry: (e) => log.warn('announce.retry', { service: kind, code: e.code }),
        onDone: () => {
          log.info('announce.done', { service: kind })
          known()
        },
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
          enrolment.renewals(cluster, client),
          announcer.run(),
          upload,
          keepTunnel({
            ...deps,
            held: current,
            service,
            signal,
            audit: (e) => spool.append(e),
            onState: tunnelState,
          }),
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
  }
}

/** One line that names the service and, when the token does not allow it, what the token is for. */
function explain(kind: ServiceKind, error: AppError): string {
  if (error.code !== 'ERR_JOIN_SERVICE_NOT_ALLOWED') return `service ${kind}: ${error.message}`
  const roles = error.details?.roles?.join(', ') ?? 'other services'
  return `service ${kind} needs a token with role ${roleOfService(kind)}; this token is for ${roles}`
}

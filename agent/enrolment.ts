/**
 * One service's identity over its whole life: found on disk or joined for, renewed at half life or when another CA signs, joined
 * for anew when it expired or its CA was rotated out while the machine slept. What is refused for good is thrown to whoever runs
 * the service.
 */
import { iso, sleep, type Clock } from '../core/clock.ts'
import type { IdentityKind } from '../core/domain/service.ts'
import { AppError, toAppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import { apiClient, type ApiClient } from '../net/http-client.ts'
import type { ClusterFinder, ClusterInfo } from './cluster.ts'
import type { HeldIdentity, IdentityStore } from './identity/store.ts'
import type { EvidenceCollector } from './join/collector.ts'
import type { PolicyKeeper } from './policy/keeper.ts'
import { standingOf, type Standing } from './policy/trusted-cas.ts'
import { renewalDelay, renewOnce } from './renew.ts'
import { retrying } from './retry.ts'
import type { ForwardProxy } from '../net/forward-proxy.ts'

export interface EnrolmentDeps {
  readonly kind: IdentityKind
  readonly nodeName: string
  readonly store: IdentityStore
  readonly finder: ClusterFinder
  /** Live: a reload may bring another token. */
  collector(): Promise<EvidenceCollector>
  /** Corrected by what the control plane says the time is. */
  readonly clock: Clock
  /** As the machine has it: API clients find the correction by themselves. */
  readonly machineClock: Clock
  readonly random: Random
  readonly log: Log
  readonly httpsProxy: ForwardProxy | undefined
  readonly signal: AbortSignal
  /** Puts an identity in force. */
  hold(next: HeldIdentity): Promise<void>
  readonly held: () => HeldIdentity | undefined
  /** The CAs that are believed, to know what an identity is worth. */
  readonly keeper: Pick<PolicyKeeper, 'cas' | 'onCas'>
  /** A try failed and will be repeated. */
  onWaiting(error: AppError): void
}

export interface Enrolment {
  /** Puts the first identity in force. Rejects with what the join was refused with. */
  identity(): Promise<HeldIdentity>
  /** Keeps it in force until the signal aborts. Rejects when that is refused for good. */
  renewals(cluster: ClusterInfo, client: ApiClient): Promise<void>
}

/** Timers stand still while a machine sleeps, so the wall clock is looked at every ten minutes, ms. */
const LOOK_AGAIN = 600_000

/** A lock may be lifted again, so it is waited out; whatever else the caller must change ends the service. */
const isFatal = (error: AppError): boolean => !error.kind.retryable && error.code !== 'ERR_LOCKED'

export function createEnrolment(deps: EnrolmentDeps): Enrolment {
  const { kind, clock, random, log, store, finder, httpsProxy, signal } = deps

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
      deps.onWaiting(error)
    }

  async function keep(next: HeldIdentity): Promise<HeldIdentity> {
    await deps.hold(next)
    return next
  }

  /** `patient`: a token that is not there yet is waited for. */
  async function join(patient: boolean): Promise<HeldIdentity> {
    const began = clock.monotonic()
    const waits = (): boolean => patient && clock.monotonic() - began < LIMITS.tokenAwait.value
    const joined = await retrying(
      async (s) => {
        const [collector, { joinOnce }] = await Promise.all([
          deps.collector(),
          import('./join/join.ts'),
        ])
        // Without a token nobody need be asked anything.
        await collector.handle()
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
            collector,
            signal: s,
          })
        } finally {
          client.close()
        }
      },
      {
        ...{ clock, random, signal, onRetry: onRetry('join') },
        isFatal: (error) => isFatal(error) || (error.code === 'ERR_TOKEN_AWAITED' && !waits()),
        longest: ({ code }) => (code === 'ERR_TOKEN_AWAITED' ? LIMITS.tokenLook.value : undefined),
      },
    )
    log.info('agent.joined', { service: kind, agent: joined.agentId, node: deps.nodeName })
    return keep(joined)
  }

  /** The identity on disk, or a fresh join. With a valid one the token is not even read. */
  async function identity(): Promise<HeldIdentity> {
    const found = await store.load(kind)
    if (!found) return join(true)
    if (found.expires > clock.now() && standing(found) !== 'worthless') {
      if (found.stored.node_name !== deps.nodeName)
        log.warn('agent.nodename_kept', {
          service: kind,
          joined_as: found.stored.node_name,
          configured: deps.nodeName,
          hint: 'another nodename needs a fresh join: delete data_dir',
        })
      return keep(found)
    }
    return rejoin(found)
  }

  const standing = (held: HeldIdentity): Standing => standingOf(held.certificate, deps.keeper.cas)
  const isOver = (held: HeldIdentity): boolean =>
    held.expires <= clock.now() || standing(held) === 'worthless'

  /**
   * After an identity has expired, or its CA was rotated out: a stopped or sleeping machine. The same enrolment key gives the
   * same agent back.
   */
  async function rejoin(over: HeldIdentity): Promise<HeldIdentity> {
    const since = iso(over.expires)
    const why =
      over.expires <= clock.now()
        ? `expired at ${since}`
        : 'is of a CA that was rotated out while this machine was away'
    log.warn('agent.identity_over', { service: kind, expires: since, reason: why })
    try {
      return await join(false)
    } catch (e) {
      const error = toAppError(e)
      const { code } = error
      if (
        code !== 'ERR_TOKEN_NEEDED' &&
        code !== 'ERR_TOKEN_AWAITED' &&
        code !== 'ERR_JOIN_REFUSED'
      )
        throw e
      const text = `the identity of service ${kind} ${why}, and the token at hand does not let it join again: set auth_token to a fresh one (postern tokens add) and restart the agent; its id and data_dir stay`
      throw new AppError(code === 'ERR_JOIN_REFUSED' ? code : 'ERR_TOKEN_NEEDED', text, {
        cause: e,
        ...(error.internal === undefined ? {} : { internal: error.internal }),
      })
    }
  }

  /** Half of its life, or within the time that a rotation gives, spread so that agents do not come together. */
  function dueAt(held: HeldIdentity): number {
    const half = clock.now() + renewalDelay(held, clock, random)
    if (standing(held) !== 'other') return half
    const { renewBy } = deps.keeper.cas ?? {}
    const left = Math.max(0, (renewBy ?? clock.now()) - clock.now())
    return Math.min(half, clock.now() + random.float() * left)
  }

  /** Resolves when the identity is to be renewed. A change of the CAs moves that moment. */
  async function untilDue(held: HeldIdentity): Promise<void> {
    let due = dueAt(held)
    let changed: (() => void) | undefined
    const stop = deps.keeper.onCas(() => {
      due = Math.min(due, dueAt(held))
      changed?.()
    })
    try {
      while (clock.now() < due && !isOver(held)) {
        const woken = new AbortController()
        changed = () => woken.abort()
        const either = AbortSignal.any([signal, woken.signal])
        const wait = Math.min(due - clock.now(), LOOK_AGAIN)
        await sleep(clock, wait, either).catch(() => signal.throwIfAborted())
      }
    } finally {
      stop()
    }
  }

  /** A refusal may mean that a rotation passed this machine by: then the signed CAs say so. */
  async function wasRotatedOut(held: HeldIdentity): Promise<boolean> {
    await finder.refresh(signal).catch(() => undefined)
    return standing(held) === 'worthless'
  }

  async function renewals(cluster: ClusterInfo, client: ApiClient): Promise<void> {
    while (!signal.aborted) {
      const now = deps.held()
      if (!now) return
      await untilDue(now)
      if (isOver(now)) {
        await rejoin(now)
        continue
      }
      await keep(
        await retrying(
          (s) => renewOnce({ held: now, cluster, api: client, store, clock, random, signal: s }),
          {
            clock,
            random,
            signal,
            // Once it has expired there is nothing left to renew.
            // Whoever is in between for a while must not end the service.
            isFatal: (error) =>
              (isFatal(error) && error.code !== 'ERR_CA_PIN_MISMATCH') || isOver(now),
            onRetry: onRetry('renewal'),
          },
        ).catch(async (e: unknown) => {
          if (signal.aborted) throw e
          if (isOver(now) || (await wasRotatedOut(now))) return rejoin(now)
          throw e
        }),
      )
      log.info('agent.renewed', {
        service: kind,
        generation: deps.held()?.stored.credentials.generation,
      })
    }
  }

  return { identity, renewals }
}

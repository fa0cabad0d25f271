/**
 * Services that the configuration names no more: their credential is given back, here and at the control plane, so that a copy of
 * it is worth nothing. Tried until it is done, at the next start as well; the other services go on meanwhile.
 */
import type { Clock } from '../core/clock.ts'
import type { ServiceKind } from '../core/domain/service.ts'
import { reasonOf, toAppError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Random } from '../core/random.ts'
import { apiClient } from '../net/http-client.ts'
import type { ClusterFinder } from './cluster.ts'
import type { HeldIdentity, IdentityStore } from './identity/store.ts'
import { retrying } from './retry.ts'
import type { ForwardProxy } from '../net/forward-proxy.ts'

export interface LeaveDeps {
  readonly store: IdentityStore
  readonly finder: ClusterFinder
  readonly clock: Clock
  readonly machineClock: Clock
  readonly random: Random
  readonly log: Log
  readonly httpsProxy: ForwardProxy | undefined
  /** The configuration may take the service up again while we try. */
  stillGone(kind: ServiceKind): boolean
  readonly signal: AbortSignal
}

/** Resolves when nothing is left to do for this service. Never rejects. */
export async function leaveService(kind: ServiceKind, deps: LeaveDeps): Promise<void> {
  const { store, log, clock, random, signal } = deps
  try {
    const held = await store.load(kind)
    if (!held || !deps.stillGone(kind)) return
    await retrying((s) => tell(held, deps, s), {
      clock,
      random,
      signal,
      onRetry: (error) => log.warn('leave.retry', { service: kind, code: error.code }),
    }).catch((e: unknown) => {
      if (signal.aborted) throw e
      // Expired, locked, or forgotten already: nobody takes it for anything, so it need not be kept.
      log.info('leave.refused', { service: kind, code: toAppError(e).code })
    })
    if (!deps.stillGone(kind)) return
    await store.remove(kind)
    log.info('agent.service_left', { service: kind })
  } catch (e) {
    if (!signal.aborted) log.error('leave.failed', { service: kind, reason: reasonOf(e) })
  }
}

async function tell(held: HeldIdentity, deps: LeaveDeps, signal: AbortSignal): Promise<void> {
  if (!deps.stillGone(held.service as ServiceKind)) return
  const cluster = await deps.finder.find(signal)
  const client = apiClient({
    baseUrl: cluster.api,
    trust: () => cluster.trust,
    cluster: cluster.cluster,
    identity: () => held,
    clock: deps.machineClock,
    random: deps.random,
    proxy: deps.httpsProxy,
  })
  try {
    await client.request('POST', '/v1/agents/self/leave', {}, { signal })
  } finally {
    client.close()
  }
}

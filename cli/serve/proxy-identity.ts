/**
 * The identity of a proxy that is served alone: joined by token, by iam or any other method with role `Proxy`, kept in its data
 * directory, renewed at half life. It is the agent's enrolment, for one identity of another kind.
 */
import { createClusterFinder, type ClusterInfo } from '../../agent/cluster.ts'
import { createEnrolment } from '../../agent/enrolment.ts'
import { openIdentityStore, type HeldIdentity } from '../../agent/identity/store.ts'
import { collectorFor } from '../../agent/join/collectors.ts'
import { createCaFollower, type CaFollower } from '../../agent/policy/ca-follower.ts'
import { policyKey } from '../../agent/policy/document.ts'
import { retrying } from '../../agent/retry.ts'
import { instant, type Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import { apiClient, type ApiClient } from '../../net/http-client.ts'
import type { Cli } from '../cli.ts'
import type { ServeConfig } from './config.ts'

export interface ServedIdentity {
  readonly cluster: ClusterInfo
  /** Corrected by what the control plane says the time is. */
  readonly clock: Clock
  /** Signs as this proxy. */
  readonly api: ApiClient
  /** The host CAs that are believed; fed with every policy. */
  readonly cas: CaFollower
  current(): HeldIdentity
  /** Renews until the signal aborts; rejects when it is refused for good. */
  keep(changed: (held: HeldIdentity) => void): Promise<void>
}

export async function joinAsProxy(
  cli: Cli,
  config: ServeConfig,
  parts: { readonly dir: string; readonly log: Log; readonly signal: AbortSignal },
): Promise<ServedIdentity> {
  const { clock: machineClock, random } = cli
  const { dir, log, signal } = parts
  const { nodeName, apiServer, caPins, join } = config.identity()
  const env = cli.env.all
  const { httpsProxy } = cli.env
  // Known once it has joined.
  const calls: { api?: ApiClient } = {}
  let held: HeldIdentity | undefined
  let onChange: ((next: HeldIdentity) => void) | undefined
  const clock: Clock = {
    ...machineClock,
    now: () => instant(machineClock.now() + (calls.api?.clockOffset ?? 0)),
  }
  const store = await openIdentityStore(dir, random)
  // What a rotation did while this proxy was away is told by the policy keys that its last identity came with.
  const last = await store.load('proxy')
  const cas = createCaFollower({
    known() {
      const { credentials } = (held ?? last)?.stored ?? {}
      return (
        credentials && {
          cluster: credentials.cluster,
          keys: credentials.policy_keys.map(policyKey),
        }
      )
    },
    clock,
    log,
  })
  const finder = createClusterFinder({
    dataDir: dir,
    proxyServer: apiServer,
    caPins,
    clock: machineClock,
    random,
    httpsProxy,
    learnt: cas,
    log,
  })
  const enrolment = createEnrolment({
    kind: 'proxy',
    nodeName,
    collector: () =>
      collectorFor(join, { service: 'proxy', dataDir: dir, env, clock, random, httpsProxy }),
    store,
    finder,
    keeper: cas,
    clock,
    machineClock,
    random,
    log,
    httpsProxy,
    signal,
    hold: (next) => {
      held = next
      onChange?.(next)
      return Promise.resolve()
    },
    held: () => held,
    onWaiting: () => undefined,
  })
  const current = (): HeldIdentity => {
    if (held) return held
    throw new AppError('ERR_INTERNAL', undefined, { internal: 'a proxy before its identity' })
  }
  await enrolment.identity()
  const cluster = await retrying((s) => finder.find(s), { clock, random, signal })
  const client = apiClient({
    baseUrl: cluster.api,
    trust: () => cluster.trust,
    cluster: cluster.cluster,
    identity: current,
    clock: machineClock,
    random,
    proxy: httpsProxy,
  })
  calls.api = client
  return {
    cluster,
    clock,
    api: client,
    cas,
    current,
    keep(changed) {
      onChange = changed
      return enrolment.renewals(cluster, client)
    },
  }
}

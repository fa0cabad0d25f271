/**
 * The policy as this proxy knows it (protocols.md 6): the version row is read every second, the signed document is fetched
 * when it moved, the freshness stamp when it is due. Only what a policy key signed is believed, and never a lower version.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { FRESHNESS_TYP, POLICY_TYP } from '../core/api/policy.ts'
import { jwsVerify } from '../core/certs/jws.ts'
import { walkLinks } from '../core/certs/policy-key-link.ts'
import { readCertificate, type Certificate } from '../core/certs/x509-read.ts'
import type { Clock, Timer } from '../core/clock.ts'
import { freshness, type Policy } from '../core/domain/policy.ts'
import type { PresenceStore } from '../core/domain/presence.ts'
import { AppError, reasonOf } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import { parse } from '../core/parse.ts'
import type { ProxyCounters } from './counters.ts'
import type { PolicySource } from './policy-source.ts'
import { within } from './within.ts'

export interface KnownPolicy {
  readonly policy: Policy
  /** As signed, for passing on. */
  readonly jws: Buffer
  readonly hostCas: readonly Certificate[]
  readonly userCas: readonly Certificate[]
  readonly keys: readonly KeyObject[]
  /** The CAs as the policy key signed them for everybody; passed on unread. */
  readonly signedCas?: { readonly jws: string; readonly links: readonly string[] }
}

export interface PolicyFeedDeps {
  readonly source: PolicySource
  readonly presence: Pick<PresenceStore, 'policyCounts'>
  readonly cluster: string
  /** Keys this process was started with. */
  policyKeys(): readonly KeyObject[]
  readonly clock: Clock
  readonly counters: ProxyCounters
  readonly log: Log
  onPolicy(known: KnownPolicy): void
  /** How many services have left their agents so far, as the table has it. */
  onDepartures(count: number): void
  onFreshness(): void
}

export interface PolicyFeed {
  start(): void
  stop(): void
  readonly known: KnownPolicy | undefined
  /** The newest freshness JWS. */
  readonly freshness: Buffer | undefined
  /** Milliseconds since a policy key vouched for a version; Infinity before the first. */
  readonly age: number
}

const broken = (internal: string): AppError =>
  new AppError('ERR_PROOF_INVALID', undefined, { internal: `policy: ${internal}` })

const isPolicy = (payload: unknown): payload is Policy =>
  typeof payload === 'object' &&
  payload !== null &&
  'version' in payload &&
  Number.isSafeInteger(payload.version) &&
  'cluster' in payload &&
  'locks' in payload &&
  Array.isArray(payload.locks) &&
  'users' in payload &&
  typeof payload.users === 'object' &&
  'cas' in payload &&
  typeof payload.cas === 'object'

async function readPolicy(
  jws: string,
  keys: readonly KeyObject[],
  cluster: string,
): Promise<KnownPolicy> {
  const { payload } = await jwsVerify(jws, {
    keys,
    algorithms: ['ES256', 'EdDSA'],
    typ: POLICY_TYP,
    maxBytes: LIMITS.policySize.value,
  })
  if (!isPolicy(payload)) throw broken('another shape')
  if (payload.cluster !== cluster) throw broken('for another cluster')
  const { cas } = payload
  return {
    policy: payload,
    jws: Buffer.from(jws, 'latin1'),
    hostCas: cas.host.x509.map((pem) => readCertificate(pem)),
    userCas: cas.user.x509.map((pem) => readCertificate(pem)),
    keys: cas.policy.map((jwk) => createPublicKey({ key: { ...jwk }, format: 'jwk' })),
  }
}

export function createPolicyFeed(deps: PolicyFeedDeps): PolicyFeed {
  const { source, presence, cluster, clock, counters, log } = deps
  const stopping = new AbortController()
  let timer: Timer | undefined
  let known: KnownPolicy | undefined
  let stamp: Buffer | undefined
  let stampedAt = -Infinity
  let busy = false
  let again = false
  let failing = false
  let unread = false

  const keys = (): readonly KeyObject[] => [...(known?.keys ?? []), ...deps.policyKeys()]
  const version = (): number => known?.policy.version ?? -1

  /** Takes a stamp; the answer is the version it names. */
  async function takeStamp(jws: string): Promise<number> {
    const { payload } = await jwsVerify(jws, {
      keys: keys(),
      algorithms: ['ES256', 'EdDSA'],
      typ: FRESHNESS_TYP,
      maxBytes: LIMITS.httpBody.value,
    })
    const fresh = parse(freshness, payload, { code: 'ERR_PROOF_INVALID' })
    if (fresh.cluster !== cluster) throw broken('stamp for another cluster')
    stampedAt = clock.monotonic()
    if (fresh.version !== version()) return fresh.version
    stamp = Buffer.from(jws, 'latin1')
    deps.onFreshness()
    return fresh.version
  }

  async function takePolicy(): Promise<void> {
    const answer = await source.policy(stopping.signal)
    // Who was away while the policy key changed follows the links from the key it knows.
    const reached = await walkLinks(keys(), answer.links ?? [], cluster)
    const next = await readPolicy(answer.policy, reached, cluster)
    if (next.policy.version > version()) {
      const { cas: signed, links = [] } = answer
      known = signed === undefined ? next : { ...next, signedCas: { jws: signed, links } }
      stamp = undefined
      deps.onPolicy(next)
    }
    await takeStamp(answer.freshness)
  }

  async function look(): Promise<void> {
    // A table that does not answer must not stop the stamps, which come from elsewhere.
    const counts = await within(clock, LIMITS.leaseRenew.value, presence.policyCounts()).catch(
      (e: unknown) => {
        counters.policyFailures += 1
        if (!unread) log.warn('proxy.policy_version_unread', { reason: reasonOf(e) })
        unread = true
        return undefined
      },
    )
    if (counts) {
      unread = false
      deps.onDepartures(counts.departures)
    }
    const newest = counts?.policy
    if (!known || (newest ?? -1) > version()) return takePolicy()
    if (clock.monotonic() - stampedAt < LIMITS.policyFreshness.value) return
    if ((await takeStamp(await source.freshness(stopping.signal))) > version()) await takePolicy()
  }

  async function tick(): Promise<void> {
    again = busy
    if (busy || stopping.signal.aborted) return
    busy = true
    try {
      await look()
      if (failing) log.info('proxy.policy_recovered', { version: version() })
      failing = false
    } catch (e) {
      counters.policyFailures += 1
      if (!failing && !stopping.signal.aborted)
        log.warn('proxy.policy_not_fetched', { reason: reasonOf(e) })
      failing = true
    } finally {
      busy = false
    }
    // A turn that fell due meanwhile is taken at once: a lock must not wait for one more second.
    if (again) await tick()
  }

  return {
    start() {
      timer = clock.every(LIMITS.policyPoll.value, () => void tick())
      void tick()
    },
    stop() {
      timer?.cancel()
      stopping.abort()
    },
    get known() {
      return known
    },
    get freshness() {
      return stamp
    },
    get age() {
      return clock.monotonic() - stampedAt
    },
  }
}

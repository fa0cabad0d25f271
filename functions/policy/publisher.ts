/**
 * The signed policy and its freshness stamp (protocols.md 6). Both are shared through the table, so that every function serves
 * the same bytes for a version and one stamp is signed in 30 s for the whole cluster.
 */
import { createHash } from 'node:crypto'
import { FRESHNESS_TYP, POLICY_TYP } from '../../core/api/policy.ts'
import { jwsSign } from '../../core/certs/jws.ts'
import { seconds, type Instant } from '../../core/clock.ts'
import { renewBy } from '../../core/domain/ca.ts'
import type { Freshness, Policy } from '../../core/domain/policy.ts'
import { AppError, invariant } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { PolicyDeps } from '../deps.ts'
import { namedAgents } from './token-locks.ts'
import { publishCas } from './signed-cas.ts'
import type { SignedFreshness, SignedHead, SignedPolicy } from '../store/policy-store.ts'

export interface PolicyPublisher {
  /** The signed document of the version in force now. Strongly consistent. */
  current(): Promise<SignedPolicy>
  /** A stamp for this document, at most LIMITS.policyFreshness old. */
  freshness(policy: SignedHead): Promise<SignedFreshness>
  /**
   * A stamp for the version in force now, as young. Proxies ask for it day and night, so the document, which may have megabytes, is
   * read only when nobody has looked at its age for a while.
   */
  stamp(): Promise<SignedFreshness>
}

type Deps = Pick<PolicyDeps, 'cluster' | 'cas' | 'clock' | 'policySigner'> & {
  readonly stores: Pick<PolicyDeps['stores'], 'policy' | 'cas' | 'agents'>
}

const payloadOf = (jws: string): Buffer => Buffer.from(jws.split('.')[1] ?? '', 'base64url')

export function createPolicyPublisher(deps: Deps): PolicyPublisher {
  const { clock, cluster, policySigner } = deps
  const store = deps.stores.policy

  async function sign(now: Instant): Promise<SignedPolicy> {
    const snapshot = await store.snapshot(now)
    // A CA's change bumps the version like any other; what is read after the version is never older than it.
    await deps.cas.refresh('now')
    const { bundle, retired, version: caVersion } = deps.cas.now
    const host = deps.cas.states.find((state) => state.kind === 'host')
    const by = host && renewBy(host)
    const policy: Policy = {
      cluster,
      version: snapshot.version,
      issued: seconds(now),
      expires: seconds(now) + LIMITS.policyTtl.value / 1000,
      roles: snapshot.roles,
      users: Object.fromEntries(snapshot.users.map((user) => [user.name, user.roles])),
      locks: await namedAgents(deps.stores.agents, snapshot.locks),
      cas: bundle,
      caVersion,
      ...(retired.length > 0 ? { retired } : {}),
      ...(by === undefined ? {} : { renewBy: seconds(by) }),
    }
    await publishCas(deps)
    const jws = await jwsSign(policySigner(), { typ: POLICY_TYP }, policy)
    if (jws.length > LIMITS.policySize.value)
      throw new AppError('ERR_INTERNAL', undefined, {
        internal: `the policy has ${jws.length} bytes; the limit is ${LIMITS.policySize.value}`,
      })
    const digest = createHash('sha256').update(payloadOf(jws)).digest('base64url')
    return store.publish({ version: snapshot.version, digest, jws })
  }

  /** A version that nothing changes would run out: past half of its life a new one is made of the same content. */
  const isOld = (signed: SignedPolicy, now: Instant): boolean => {
    const { issued } = JSON.parse(payloadOf(signed.jws).toString('utf8')) as { issued: number }
    return seconds(now) - issued > LIMITS.policyTtl.value / 2000
  }
  // Parsing megabytes for each poll would be waste: what was found young stays so until then.
  let checked: { readonly digest: string; readonly at: Instant } | undefined
  const foundYoung = ({ digest }: SignedHead, now: Instant): boolean =>
    checked?.digest === digest && now - checked.at < LIMITS.policyTtl.value / 100
  const needsBump = (signed: SignedPolicy, now: Instant): boolean => {
    if (foundYoung(signed, now)) return false
    if (isOld(signed, now)) return true
    checked = { digest: signed.digest, at: now }
    return false
  }

  async function current(): Promise<SignedPolicy> {
    const now = clock.now()
    const [version, signed] = await Promise.all([store.version(), store.signed()])
    if (signed && signed.version >= version && !needsBump(signed, now)) return signed
    if (signed && signed.version >= version) await store.bump()
    const published = await sign(now)
    invariant(published.version >= version, 'a published policy is as new as the version read')
    return published
  }

  const isFresh = (stamp: SignedFreshness | undefined, version: number): stamp is SignedFreshness =>
    stamp !== undefined &&
    stamp.version >= version &&
    clock.now() - stamp.issued < LIMITS.policyFreshness.value

  async function freshness({ version, digest }: SignedHead): Promise<SignedFreshness> {
    const stamp = await store.freshness()
    if (isFresh(stamp, version)) return stamp
    const now = clock.now()
    const claims: Freshness = { cluster, version, digest, issued: seconds(now) }
    const jws = await jwsSign(policySigner(), { typ: FRESHNESS_TYP }, claims)
    return store.publishFreshness({ version, issued: now, jws })
  }

  return {
    current,
    freshness,
    async stamp() {
      const [version, newest] = await Promise.all([store.version(), store.freshness()])
      if (isFresh(newest, version)) return newest
      const head = await store.head()
      const known = head && head.version >= version && foundYoung(head, clock.now())
      return freshness(known ? head : await current())
    },
  }
}

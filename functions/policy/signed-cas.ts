/**
 * What the policy key says about the CAs, for those who do not read the policy or were away: the trusted CAs in one signed
 * object, and the links by which each policy key vouched for the next. Made whenever a policy is signed, which every change of a
 * CA brings about.
 */
import { CAS_TYP, type SignedCasPayload } from '../../core/api/cas.ts'
import { jwsSign } from '../../core/certs/jws.ts'
import { signLink, untrustedLinkTarget } from '../../core/certs/policy-key-link.ts'
import { seconds } from '../../core/clock.ts'
import type { CaState } from '../../core/domain/ca.ts'
import { LIMITS } from '../../core/limits.ts'
import type { PolicyDeps } from '../deps.ts'

type Deps = Pick<PolicyDeps, 'cluster' | 'cas' | 'clock' | 'policySigner'> & {
  readonly stores: Pick<PolicyDeps['stores'], 'cas'>
}

/** The links that lead to what is trusted now: one more for a key that is coming, none to a key that was rolled back. */
async function linksOf(deps: Deps, before: readonly string[]): Promise<string[]> {
  const policy = deps.cas.states.find((state: CaState) => state.kind === 'policy')
  const next = policy?.rotation?.next.jwk
  const current = policy?.current.jwk
  // The chain ends at the key that signed before the rotation; what follows is of a rotation, this one or one taken back.
  const end = before.findIndex((link) => untrustedLinkTarget(link) === current?.kid)
  const settled = before.slice(0, end + 1)
  if (!next) return settled
  const coming = before[end + 1]
  if (coming !== undefined && untrustedLinkTarget(coming) === next.kid) return [...settled, coming]
  // Only the old key may vouch for the new one.
  if (policy.phase !== 'init' && policy.phase !== 'update_clients') return settled
  const issued = seconds(deps.clock.now())
  return [
    ...settled,
    await signLink(deps.policySigner(), { cluster: deps.cluster, to: next, issued }),
  ]
}

export async function publishCas(deps: Deps): Promise<void> {
  const { bundle, version, retired } = deps.cas.now
  const now = seconds(deps.clock.now())
  const before = await deps.stores.cas.signed()
  const links = await linksOf(deps, before?.links ?? [])
  const payload: SignedCasPayload = {
    cluster: deps.cluster,
    version,
    issued: now,
    expires: now + LIMITS.policyTtl.value / 1000,
    cas: {
      host: { x509: [...bundle.host.x509], ssh: [...bundle.host.ssh] },
      user: { x509: [...bundle.user.x509], ssh: [...bundle.user.ssh] },
      policy: bundle.policy.map((key) => ({ ...key })),
    },
    retired: [...retired],
  }
  const jws = await jwsSign(deps.policySigner(), { typ: CAS_TYP }, payload)
  await deps.stores.cas.publish({
    version,
    jws,
    links: links.slice(-LIMITS.policyKeyLinks.value),
  })
}

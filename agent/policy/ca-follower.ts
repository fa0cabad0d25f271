/**
 * The host CAs for an identity without a policy keeper: that of a proxy. What the policy key signed is believed, by the keys that
 * came with the identity and those that they vouched for; a restart learns it anew.
 */
import type { KeyObject } from 'node:crypto'
import { openSignedCas } from '../../core/certs/signed-cas.ts'
import type { Clock } from '../../core/clock.ts'
import type { Policy } from '../../core/domain/policy.ts'
import type { Log } from '../../core/log.ts'
import { policyKey } from './document.ts'
import type { PolicyKeeper } from './policy-keeper.ts'
import { trustedCas, type TrustedCas } from './trusted-cas.ts'

export interface CaFollower extends Pick<PolicyKeeper, 'cas' | 'takeCas' | 'onCas'> {
  /** A policy whose signature was verified. */
  takePolicy(policy: Policy): void
}

export function createCaFollower(options: {
  /** Of the identity in force; undefined before there is one. */
  known(): { readonly cluster: string; readonly keys: readonly KeyObject[] } | undefined
  readonly clock: Clock
  readonly log: Log
}): CaFollower {
  const listeners = new Set<() => void>()
  let cas: TrustedCas | undefined
  let keys: readonly KeyObject[] = []

  function put(next: TrustedCas, policy: readonly Readonly<Record<string, unknown>>[]): void {
    if (cas && next.version < cas.version) return
    const same = cas?.x509.join() === next.x509.join()
    cas = next
    keys = policy.map(policyKey)
    if (same) return
    options.log.info('ca.learnt', { version: next.version })
    for (const fn of listeners) fn()
  }

  return {
    get cas() {
      return cas
    },
    onCas(fn) {
      listeners.add(fn)
      return () => void listeners.delete(fn)
    },
    takePolicy: (policy) =>
      put(
        trustedCas(policy),
        policy.cas.policy.map((key) => ({ ...key })),
      ),
    async takeCas({ jws, links }) {
      const known = options.known()
      if (!known) return
      const now = options.clock.now()
      const from = { keys: [...keys, ...known.keys], links, cluster: known.cluster }
      const next = await openSignedCas(jws, { ...from, version: cas?.version ?? 0, now })
      put(trustedCas({ ...next, caVersion: next.version }), next.cas.policy)
    },
  }
}

/**
 * A rotation of the cluster's CAs, as a profile takes it up: from what the policy key signed, over any connection. Asked for when a
 * route names a newer state of the CAs, and when nobody vouches for what answered.
 */
import { createPublicKey } from 'node:crypto'
import { openSignedCas } from '../../core/certs/signed-cas.ts'
import type { Instant } from '../../core/clock.ts'
import type { JsonWebKeyLike } from '../../core/domain/policy.ts'
import { isAppError } from '../../core/errors.ts'
import { fetchOfferedCas } from '../../net/trust.ts'
import { knownHosts } from '../ssh-config.ts'
import { saveCas, type ProfileCas, type StoredProfile } from './profile.ts'
import type { ForwardProxy } from '../../net/forward-proxy.ts'

export interface KnownCas {
  readonly cluster: string
  /** Origin of the API. */
  readonly api: string
  readonly policyKeys: readonly JsonWebKeyLike[]
  readonly caVersion: number
}

/** The CAs now; undefined when they are the ones that are known, or nobody who is known signed them. */
export async function newerCas(
  known: KnownCas,
  now: Instant,
  httpsProxy: ForwardProxy | undefined,
): Promise<ProfileCas | undefined> {
  const offered = await fetchOfferedCas({ url: known.api, pins: [], proxy: httpsProxy })
  if (!offered.signed) return undefined
  const { jws, links } = offered.signed
  const keys = known.policyKeys.map((jwk) => createPublicKey({ key: { ...jwk }, format: 'jwk' }))
  const { cluster, caVersion } = known
  const next = await openSignedCas(jws, { keys, links, cluster, version: caVersion, now })
  if (next.version === caVersion) return undefined
  return {
    hostCas: next.cas.host.x509,
    knownHosts: knownHosts(cluster, next.cas.host.ssh),
    policyKeys: next.cas.policy,
    caVersion: next.version,
  }
}

/** The profile with the CAs of now, on disk as well. The same one when there is nothing newer. Never rejects. */
export async function followCas(
  profile: StoredProfile,
  now: Instant,
  httpsProxy: ForwardProxy | undefined,
): Promise<StoredProfile> {
  try {
    const next = await newerCas(profile, now, httpsProxy)
    return next ? await saveCas(profile, next) : profile
  } catch {
    // Not reached, not signed by anybody known, or a disk that is full: then the old ones hold, and say what is wrong.
    return profile
  }
}

/** Refusals of TLS and of handshakes that newer CAs may mend: unknown issuers, and certificates that are over or not valid. */
export function mayBeOutdated(e: unknown): boolean {
  let cause: unknown = e
  for (let depth = 0; depth < 6 && cause instanceof Error; depth++) {
    const { code } = cause as NodeJS.ErrnoException
    if (isAppError(cause) && (code === 'ERR_CERT_INVALID' || code === 'ERR_TUNNEL_HANDSHAKE'))
      return true
    if (code !== undefined && /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|CERT_)/.test(code)) return true
    cause = cause.cause
  }
  return false
}

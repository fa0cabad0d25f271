/**
 * The host CAs that this agent believes, and which of them signs: from the signed policy, or from the signed CAs for one that
 * comes back after a rotation it slept through. Never fewer changes than it has seen. Before either is known, what joining gave
 * and what is pinned hold (cluster.ts).
 */
import { readCertificate, type Certificate } from '../../core/certs/x509-read.ts'
import { issuedBy } from '../../core/certs/x509-verify.ts'
import { fromSeconds, type Instant } from '../../core/clock.ts'

export interface TrustedCas {
  /** PEM, the one that signs first. */
  readonly x509: readonly string[]
  readonly certificates: readonly Certificate[]
  /** Pins that no configuration makes good again. */
  readonly retired: readonly string[]
  /** By when certificates of the others are renewed. */
  readonly renewBy: Instant | undefined
  readonly version: number
}

export function trustedCas(given: {
  readonly cas: { readonly host: { readonly x509: readonly string[] } }
  readonly caVersion?: number | undefined
  readonly retired?: readonly string[] | undefined
  readonly renewBy?: number | undefined
}): TrustedCas {
  const { x509 } = given.cas.host
  return {
    x509,
    certificates: x509.map((pem) => readCertificate(pem)),
    retired: given.retired ?? [],
    renewBy: given.renewBy === undefined ? undefined : fromSeconds(given.renewBy),
    version: given.caVersion ?? 0,
  }
}

/** good: the CA that signs now signed it · other: renew it · worthless: its CA is believed by nobody any more. */
export type Standing = 'good' | 'other' | 'worthless'

export function standingOf(certificate: Certificate, cas: TrustedCas | undefined): Standing {
  if (!cas) return 'good'
  const at = cas.certificates.findIndex((ca) => issuedBy(certificate, ca))
  return at === 0 ? 'good' : at > 0 ? 'other' : 'worthless'
}

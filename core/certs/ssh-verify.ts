/**
 * Whether an OpenSSH certificate holds, in the order in which OpenSSH asks. Refusals are values: they are expected answers, and
 * the caller puts them into the audit log.
 */
import type { Instant } from '../clock.ts'
import { inNetwork, parseIp, parseNetwork } from './ip.ts'
import type { SshCertificate, SshRole } from './ssh-certificate.ts'
import { verifySshSignature } from './ssh-signature.ts'

export type SshCertificateRefusal =
  | 'wrong role'
  | 'unknown CA'
  | 'bad signature'
  | 'not yet valid'
  | 'expired'
  | 'no principals'
  | 'principal not listed'
  | 'unknown critical option'
  | 'source address not allowed'

export interface VerifySshOptions {
  /** Blobs of the bare CA keys; several while one is being rotated. */
  readonly cas: readonly Uint8Array[]
  readonly role: SshRole
  /** Login or host name that must be among the principals; compared exactly. */
  readonly principal?: string
  readonly now: Instant
  /** Address of the client; a certificate bound to addresses is refused without it. */
  readonly sourceAddress?: string
  /** Critical options that the caller itself enforces, as `force-command`. `source-address` is enforced here. */
  readonly honours?: readonly string[]
}

function addressAllowed(networks: string, address: string | undefined): boolean {
  const ip = address === undefined ? undefined : parseIp(address)
  return networks.split(',').some((text) => {
    const network = parseNetwork(text)
    return ip !== undefined && network !== undefined && inNetwork(ip, network)
  })
}

/** Why it is refused, or undefined when it holds. */
export function verifySshCertificate(
  certificate: SshCertificate,
  options: VerifySshOptions,
): SshCertificateRefusal | undefined {
  const { role, now, principal } = options
  if (certificate.role !== role) return 'wrong role'
  const ca = certificate.ca
  if (!options.cas.some((blob) => ca.blob.equals(blob))) return 'unknown CA'
  if (!verifySshSignature(ca, certificate.signed, certificate.signature)) return 'bad signature'
  if (now < certificate.validAfter) return 'not yet valid'
  if (now >= certificate.validBefore) return 'expired'
  // To sshd an empty list on a host certificate means any host; here it means none.
  if (certificate.principals.length === 0) return 'no principals'
  if (principal !== undefined && !certificate.principals.includes(principal))
    return 'principal not listed'
  for (const [name, value] of certificate.criticalOptions) {
    if (name === 'source-address') {
      if (!addressAllowed(value, options.sourceAddress)) return 'source address not allowed'
    } else if (!options.honours?.includes(name)) return 'unknown critical option'
  }
  return undefined
}

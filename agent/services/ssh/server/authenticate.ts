/**
 * Who is there: an OpenSSH user certificate of the cluster's user CA, with a signature over this very session, naming the
 * user whose stream this is and the login asked for. An offer without signature proves nothing; what the connection may do
 * comes from the signed attempt alone, never from an earlier one.
 */
import type { AuthContext, PublicKeyAuthContext } from 'ssh2'
import type { Instant } from '../../../../core/clock.ts'
import { userFromSshCertificate } from '../../../../core/certs/identity.ts'
import { parseSshCertificate, type SshCertificate } from '../../../../core/certs/ssh-certificate.ts'
import { sshFingerprint } from '../../../../core/certs/ssh-key.ts'
import { verifySshSignature } from '../../../../core/certs/ssh-signature.ts'
import { verifySshCertificate } from '../../../../core/certs/ssh-verify.ts'
import { reasonOf } from '../../../../core/errors.ts'
import { LIMITS } from '../../../../core/limits.ts'
import type { UserIdentity } from '../../service.ts'

export interface Trust {
  readonly userCas: readonly Uint8Array[]
  readonly cluster: string
  readonly user: string
  readonly now: Instant
}

export type Verdict =
  /** A certificate that would do; the client may now sign with its key. */
  | { readonly kind: 'offer' }
  | {
      readonly kind: 'proven'
      readonly login: string
      readonly identity: UserIdentity
      /** Serial and key, for the audit log. */
      readonly certificate: string
    }
  /** `line` is for the user, where it helps the honest; `reason` is for the audit log. */
  | { readonly kind: 'refused'; readonly reason: string; readonly line?: string }

const refused = (reason: string, line?: string): Verdict => ({
  kind: 'refused',
  reason,
  ...(line !== undefined && { line }),
})

const CERT_SUFFIX = '-cert-v01@openssh.com'
/** RSA certificates are used under names that say the hash; all others under their own type. */
const RSA_CERTIFICATE = 'ssh-rsa' + CERT_SUFFIX
const RSA_ALGORITHMS: Readonly<Record<string, string>> = {
  'rsa-sha2-256-cert-v01@openssh.com': 'rsa-sha2-256',
  'rsa-sha2-512-cert-v01@openssh.com': 'rsa-sha2-512',
}

/** The signature algorithm that an authentication algorithm stands for, undefined when it does not go with the certificate. */
function signatureAlgorithm(algorithm: string, certificate: SshCertificate): string | undefined {
  if (certificate.type === RSA_CERTIFICATE) return RSA_ALGORITHMS[algorithm]
  return algorithm === certificate.type ? certificate.publicKey.type : undefined
}

export function authenticate(attempt: AuthContext, trust: Trust): Verdict {
  if (attempt.method !== 'publickey') return refused(`method ${attempt.method}`)
  try {
    return checkCertificate(attempt, trust)
  } catch (e) {
    return refused(reasonOf(e))
  }
}

function checkCertificate(attempt: PublicKeyAuthContext, trust: Trust): Verdict {
  const { algo, data } = attempt.key
  if (!algo.endsWith(CERT_SUFFIX)) return refused(`a key without certificate (${algo})`)
  if (data.length > LIMITS.certSize.value) return refused('a certificate too large')
  // A copy: ssh2 hands out a view of its packet buffer.
  const certificate = parseSshCertificate(Buffer.from(data))
  const algorithm = signatureAlgorithm(algo, certificate)
  if (!algorithm) return refused(`algorithm ${algo} does not go with the certificate`)
  const bad = verifySshCertificate(certificate, {
    cas: trust.userCas,
    role: 'user',
    principal: attempt.username,
    now: trust.now,
  })
  const line = bad === 'expired' ? 'your certificate has expired; log in again' : undefined
  if (bad)
    return refused(`${bad}: certificate of ${certificate.keyId} for ${attempt.username}`, line)
  if (!attempt.signature) return { kind: 'offer' }
  if (!attempt.blob) return refused('nothing was signed')
  if (!verifySshSignature(certificate.publicKey, attempt.blob, attempt.signature, [algorithm]))
    return refused(`the signature is not by the certificate of ${certificate.keyId}`)
  const identity = userFromSshCertificate(certificate, trust.cluster)
  if (identity.user !== trust.user)
    return refused(`certificate of ${identity.user} on a stream of ${trust.user}`)
  const key = sshFingerprint(certificate.publicKey.blob)
  return {
    kind: 'proven',
    login: attempt.username,
    identity,
    certificate: `serial ${certificate.serial} key ${key}`,
  }
}

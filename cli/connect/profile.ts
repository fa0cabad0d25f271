/**
 * The profile: one directory (0700) with everything a user's side needs to reach one cluster. Written by `postern login` and
 * `postern up`, read by ssh itself (key, certificate, known hosts, configuration) and by the connecting commands.
 *
 *   profile.json     { v, cluster, api, proxies, user, ca_pins, expires }
 *   ca.pem           host CA(s), X.509; what agents and proxies are verified against
 *   key.pem          the user's P-256 private key, 0600, in a form that OpenSSH and Node both read
 *   user-x509.pem    the user's certificate
 *   key.pem-cert.pub the user's SSH certificate, where OpenSSH looks for it
 *   known_hosts      @cert-authority lines for *.<cluster>
 *   ssh_config       what `ssh -F` takes
 *   policy-keys.json public keys that sign routes
 *   operator.key     optional API key, 0600
 *   routes/          cached routes, 0600
 *
 * (Surface first; implementation follows.)
 */
import type { JsonWebKeyLike } from '../../core/domain/policy.ts'
import type { Instant } from '../../core/clock.ts'

export interface Profile {
  readonly cluster: string
  /** Origin of the API. */
  readonly api: string
  /** `host:port` of each proxy, at least one. */
  readonly proxies: readonly string[]
  readonly user: string
  readonly caPins: readonly string[]
  /** End of the certificates. */
  readonly expires: Instant
  /** PEM, one certificate each. */
  readonly hostCas: readonly string[]
  /** PEM; `userKeyPem` makes one. */
  readonly keyPem: string
  readonly certificatePem: string
  /** `type base64 comment`. */
  readonly sshCertificate: string
  readonly knownHosts: string
  readonly sshConfig: string
  readonly policyKeys: readonly JsonWebKeyLike[]
  readonly operatorKey?: string | undefined
}

/** A profile that lies in a directory. */
export interface StoredProfile extends Profile {
  readonly dir: string
}

/**
 * Throws ERR_PROFILE_MISSING when there is none or it is not whole, ERR_DATA_DIR_UNSAFE when others could have written or
 * read it. An expired profile is returned: the caller knows what to say.
 */
export declare function loadProfile(dir: string): Promise<StoredProfile>
/** Replaces each file atomically, profile.json last. Makes the directory. Keeps operator.key when none is given. */
export declare function saveProfile(dir: string, profile: Profile): Promise<StoredProfile>

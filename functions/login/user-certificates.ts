/** Signs what a signed-in user gets: an X.509 and an SSH certificate for a key that the client made. Both end together. */
import type { KeyObject } from 'node:crypto'
import { fillLogins } from '../../core/access/match.ts'
import { userExtension, userSshExtensions, userUri } from '../../core/certs/identity.ts'
import { issueSshCertificate } from '../../core/certs/ssh-certificate.ts'
import { authorizedKey, publicKeyBlob, sshFingerprint } from '../../core/certs/ssh-key.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { readCertificate, toPem } from '../../core/certs/x509-read.ts'
import { fromSeconds, plus, seconds, type Clock, type Instant } from '../../core/clock.ts'
import type { Role } from '../../core/domain/role.ts'
import type { Traits, User } from '../../core/domain/user.ts'
import { AppError, badField } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import type { Authority } from '../deps.ts'

/** A principal that is no unix login: sshd and our agents refuse an empty list, and nobody is called so. */
const NO_LOGIN = '-postern-nologin'

/** What OpenSSH's own CA grants by default. The agent decides about each of them by the role anyway. */
const SSH_EXTENSIONS = {
  'permit-agent-forwarding': '',
  'permit-port-forwarding': '',
  'permit-pty': '',
} as const

export function loginsOf(roles: readonly Role[], traits: Traits): string[] {
  const denied = new Set(roles.flatMap((role) => fillLogins(role.deny.logins, traits)))
  if (denied.has('*')) return []
  const allowed = roles.flatMap((role) => fillLogins(role.allow.logins, traits))
  return [...new Set(allowed)].filter((login) => !denied.has(login)).sort()
}

/** The smallest of the system's limit, what the roles allow and what was asked for. */
function lifetime(roles: readonly Role[], asked: number | undefined): number {
  if (asked !== undefined && asked < LIMITS.userCertTtlMin.value)
    throw badField('ttl', `at least ${LIMITS.userCertTtlMin.value / 60_000} minute`)
  if (asked !== undefined && asked > LIMITS.userCertTtl.value)
    throw new AppError('ERR_CERT_TTL_TOO_LONG', 'ttl: at most 12 hours')
  const limits = roles.map((role) => role.options.maxSessionTtl).filter((ttl) => ttl !== undefined)
  return Math.min(LIMITS.userCertTtl.value, ...limits, asked ?? Infinity)
}

export interface UserCertificateRequest {
  readonly user: User
  /** The user's roles, those that exist. */
  readonly roles: readonly Role[]
  readonly publicKey: KeyObject
  /** Milliseconds, if a shorter life is wished. */
  readonly ttl: number | undefined
  /** The end of the certificate that asks for this one, so that no chain of renewals outlives a sign-in. */
  readonly notAfter?: Instant
}

export interface IssuedUserCertificates {
  readonly x509: string
  readonly ssh: string
  readonly logins: readonly string[]
  readonly roles: readonly string[]
  readonly expires: Instant
  /** For the audit log. */
  readonly serial: string
  readonly key: string
}

export async function issueUserCertificates(
  deps: {
    readonly cluster: string
    readonly userCa: () => Authority
    readonly clock: Clock
    readonly random: Random
  },
  { user, roles, publicKey, ttl, notAfter }: UserCertificateRequest,
): Promise<IssuedUserCertificates> {
  const { certificate, signer } = deps.userCa()
  const now = deps.clock.now()
  const wanted = plus(now, lifetime(roles, ttl))
  const end = notAfter === undefined ? wanted : Math.min(wanted, notAfter)
  const expires = fromSeconds(seconds(end as Instant))
  const notBefore = plus(now, -LIMITS.certBackdate.value)
  const logins = loginsOf(roles, user.traits)
  const attributes = { roles: user.roles, traits: user.traits, logins }
  const [der, ssh] = await Promise.all([
    issueCertificate(
      {
        subject: user.name,
        publicKey,
        issuer: { certificate, signer },
        notBefore,
        notAfter: expires,
        uris: [userUri(deps.cluster, user.name)],
        usage: ['client'],
        extension: userExtension(attributes),
      },
      deps.random,
    ),
    issueSshCertificate(
      {
        role: 'user',
        publicKey,
        keyId: user.name,
        principals: logins.length > 0 ? logins : [NO_LOGIN],
        validAfter: notBefore,
        validBefore: expires,
        extensions: { ...SSH_EXTENSIONS, ...userSshExtensions(attributes) },
      },
      signer,
      deps.random,
    ),
  ])
  return {
    x509: toPem(der),
    ssh: authorizedKey(ssh, user.name),
    logins,
    roles: user.roles,
    expires,
    serial: readCertificate(der).serial,
    key: sshFingerprint(publicKeyBlob(publicKey)),
  }
}

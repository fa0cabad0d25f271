/**
 * What the CAs never sign, for X.509 and SSH certificates alike (design, section 3). Every path to a signature goes through
 * these checks; their errors are safe to show, since they speak of the request alone.
 */
import type { KeyObject } from 'node:crypto'
import type { Instant } from '../clock.ts'
import { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { keyAlgorithm } from './signer.ts'

export const refuse = (what: string): AppError => new AppError('ERR_CERT_REQUEST_REFUSED', what)

/** Users get hours; agents and proxies, whose keys stay on one machine and renew by themselves, get a day. */
export type Bearer = 'user' | 'machine'
const LIFETIME = { user: LIMITS.userCertTtl, machine: LIMITS.agentCertTtl } as const

/** The backdating of notBefore comes on top of the lifetime. */
export function checkLifetime(bearer: Bearer, notBefore: Instant, notAfter: Instant): void {
  if (!(notBefore >= 0 && notAfter > notBefore)) throw refuse('it must end after it begins')
  if (notAfter - notBefore > LIFETIME[bearer].value + LIMITS.certBackdate.value)
    throw new AppError(
      'ERR_CERT_TTL_TOO_LONG',
      `at most ${LIFETIME[bearer].value / 3_600_000} hours are signed`,
    )
}

/** Only bare public keys are certified, and only of the kinds that every verifier of ours knows. */
export function checkSubjectKey(key: KeyObject): void {
  if (key.type !== 'public') throw refuse('a public key is needed')
  keyAlgorithm(key)
}

/**
 * Principals are what sshd compares with a login or a host name. An empty list would mean "anyone" to it (CVE-2024-7594),
 * `*` to others; control characters, spaces and commas could be read as two names by tools that print them.
 */
export function checkPrincipals(principals: readonly string[]): void {
  if (principals.length === 0) throw refuse('principals: at least one is needed')
  if (principals.length > LIMITS.certPrincipals.value)
    throw refuse(`principals: at most ${LIMITS.certPrincipals.value}`)
  if (new Set(principals).size !== principals.length) throw refuse('principals: one is named twice')
  for (const principal of principals)
    if (!/^[\p{L}\p{N}._@+:-]{1,255}$/u.test(principal))
      throw refuse('principals: use letters, digits and ". _ @ + : -"')
}

export function checkSize(bytes: Buffer): Buffer {
  if (bytes.length > LIMITS.certSize.value) throw refuse('the certificate would be too large')
  return bytes
}

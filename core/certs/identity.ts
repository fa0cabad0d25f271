/**
 * Who a certificate names. It says nothing about whether the certificate holds: verify it first (verifyLeaf,
 * verifySshCertificate), against the host CA for agents and proxies, the user CA for users.
 */
import type { Instant } from '../clock.ts'
import { isResourceName } from '../domain/name.ts'
import type { ServiceKind } from '../domain/service.ts'
import { AppError } from '../errors.ts'
import type { AgentId, ProxyId } from '../ids.ts'
import { isUserName, parseSpiffe } from './spiffe.ts'
import type { SshCertificate } from './ssh-certificate.ts'
import {
  attributesOfCertificate,
  attributesOfSshCertificate,
  type UserAttributes,
} from './user-attributes.ts'
import type { Certificate } from './x509-read.ts'

export { agentUri, proxyUri, userUri } from './spiffe.ts'
export { userExtension, userSshExtensions, type UserAttributes } from './user-attributes.ts'

export interface AgentIdentity {
  readonly kind: 'agent'
  readonly cluster: string
  readonly agentId: AgentId
  readonly service: ServiceKind
}
export interface ProxyIdentity {
  readonly kind: 'proxy'
  readonly cluster: string
  readonly proxyId: ProxyId
}
export interface UserIdentity extends UserAttributes {
  readonly kind: 'user'
  readonly cluster: string
  readonly user: string
  /** End of the certificate. */
  readonly expires: Instant
}
export type Identity = AgentIdentity | ProxyIdentity | UserIdentity

const broken = (internal: string): AppError =>
  new AppError('ERR_CERT_INVALID', undefined, { internal })

/** Throws ERR_CERT_INVALID when the certificate has not exactly one canonical URI, or a user's lacks its attributes. */
export function identityOf(certificate: Certificate): Identity {
  const [uri, ...more] = certificate.uris
  if (uri === undefined || more.length > 0) throw broken('not exactly one URI name')
  const id = parseSpiffe(uri)
  if (!id) throw broken('URI is not a canonical identity')
  return id.kind === 'user'
    ? { ...id, ...attributesOfCertificate(certificate), expires: certificate.notAfter }
    : id
}

/** The user of an SSH user certificate: the key id is the name. Throws ERR_CERT_INVALID. */
export function userFromSshCertificate(certificate: SshCertificate, cluster: string): UserIdentity {
  const user = certificate.keyId
  if (certificate.role !== 'user') throw broken('not a user certificate')
  if (!isResourceName(cluster)) throw broken('cluster name')
  if (!isUserName(user)) throw broken('key id is not a user name')
  const attributes = attributesOfSshCertificate(certificate)
  return { kind: 'user', cluster, user, ...attributes, expires: certificate.validBefore }
}

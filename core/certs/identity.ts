/** Surface first: implementation follows in this file. */
import type { Instant } from '../clock.ts'
import type { AgentId, ProxyId } from '../ids.ts'
import type { ServiceKind } from '../domain/service.ts'
import type { Extension } from './x509.ts'
import type { Certificate } from './x509-read.ts'
import type { SshCertificate } from './ssh-certificate.ts'

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
export interface UserAttributes {
  readonly roles: readonly string[]
  readonly traits: Readonly<Record<string, readonly string[]>>
  readonly logins: readonly string[]
}
export interface UserIdentity extends UserAttributes {
  readonly kind: 'user'
  readonly cluster: string
  readonly user: string
  readonly expires: Instant
}
export type Identity = AgentIdentity | ProxyIdentity | UserIdentity
/** Who an already verified certificate names. Throws ERR_CERT_INVALID. */
export declare function identityOf(certificate: Certificate): Identity
export declare function userFromSshCertificate(
  certificate: SshCertificate,
  cluster: string,
): UserIdentity
/** The URI SAN of an identity; throws ERR_CERT_REQUEST_REFUSED for a name that is not canonical. */
export declare function agentUri(cluster: string, agentId: AgentId, service: ServiceKind): string
export declare function proxyUri(cluster: string, proxyId: ProxyId): string
export declare function userUri(cluster: string, user: string): string
/** The X.509 extension that carries a user's roles, traits and logins. */
export declare function userExtension(attributes: UserAttributes): Extension
/** `roles@postern` and `traits@postern`, to merge into the SSH certificate's extensions. */
export declare function userSshExtensions(
  attributes: Pick<UserAttributes, 'roles' | 'traits'>,
): Record<string, string>

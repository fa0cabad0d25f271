/**
 * SPIFFE ids, the names of all our identities: `spiffe://<cluster>/agent/<id>/<service>`, `/proxy/<id>`, `/user/<name>`.
 * One text exists for one identity: what is not written exactly so is refused, never normalised (CVE-2021-27099).
 */
import { isResourceName, userName } from '../domain/name.ts'
import { SERVICE_KINDS, type ServiceKind } from '../domain/service.ts'
import { AppError } from '../errors.ts'
import { parseId, type AgentId, type ProxyId } from '../ids.ts'

export type SpiffeId =
  | {
      readonly kind: 'agent'
      readonly cluster: string
      readonly agentId: AgentId
      readonly service: ServiceKind
    }
  | { readonly kind: 'proxy'; readonly cluster: string; readonly proxyId: ProxyId }
  | { readonly kind: 'user'; readonly cluster: string; readonly user: string }

// No percent sign, no second slash, no query, no port: nothing that could be written in two ways.
const URI =
  /^spiffe:\/\/([a-z0-9.-]{1,63})\/(agent|proxy|user)\/([A-Za-z0-9._@+-]{1,128})(?:\/([a-z]{1,16}))?$/

/** Undefined when the text is not a canonical id of ours. */
export function parseSpiffe(uri: string): SpiffeId | undefined {
  const [, cluster = '', kind, name = '', service] = URI.exec(uri) ?? []
  if (!isResourceName(cluster)) return undefined
  if (kind === 'agent') {
    const agentId = parseId('agent', name)
    const known = SERVICE_KINDS.find((one) => one === service)
    return agentId && known && { kind, cluster, agentId, service: known }
  }
  if (service !== undefined) return undefined
  if (kind === 'proxy') {
    const proxyId = parseId('proxy', name)
    return proxyId && { kind, cluster, proxyId }
  }
  return kind === 'user' && isUserName(name) ? { kind, cluster, user: name } : undefined
}

export const isUserName = (text: string): boolean => userName.safeParse(text).success

function canonical(uri: string): string {
  if (!parseSpiffe(uri))
    throw new AppError('ERR_CERT_REQUEST_REFUSED', 'no identity can have such a name')
  return uri
}

/** These throw ERR_CERT_REQUEST_REFUSED for a name that no identity can have. */
export const agentUri = (cluster: string, agentId: AgentId, service: ServiceKind): string =>
  canonical(`spiffe://${cluster}/agent/${agentId}/${service}`)
export const proxyUri = (cluster: string, proxyId: ProxyId): string =>
  canonical(`spiffe://${cluster}/proxy/${proxyId}`)
export const userUri = (cluster: string, user: string): string =>
  canonical(`spiffe://${cluster}/user/${user}`)

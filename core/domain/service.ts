/** The services an agent can run, the system roles that tokens grant them by, and the kinds of resource they expose. */
export const SERVICE_KINDS = ['ssh', 'app', 'db', 'kube', 'discovery'] as const
export type ServiceKind = (typeof SERVICE_KINDS)[number]

/**
 * What a joined identity is for: one service of an agent, or a whole proxy. A proxy joins, renews and is locked as an agent is;
 * it serves nothing and nobody is routed to it.
 */
export const IDENTITY_KINDS = [...SERVICE_KINDS, 'proxy'] as const
export type IdentityKind = (typeof IDENTITY_KINDS)[number]

/** System roles as tokens name them (Teleport's words). `Proxy` and `Bot` are no services of agents. */
export const SYSTEM_ROLES = ['Node', 'App', 'Db', 'Kube', 'Discovery', 'Proxy', 'Bot'] as const
export type SystemRole = (typeof SYSTEM_ROLES)[number]

const ROLE_OF_SERVICE = {
  ssh: 'Node',
  app: 'App',
  db: 'Db',
  kube: 'Kube',
  discovery: 'Discovery',
  proxy: 'Proxy',
} as const satisfies Record<IdentityKind, SystemRole>

export const roleOfService = (service: IdentityKind): SystemRole => ROLE_OF_SERVICE[service]

/** `node`, `Node` and `ssh` all name the system role Node; undefined when the word names none. */
export function parseSystemRole(word: string): SystemRole | undefined {
  const lower = word.toLowerCase()
  const byRole = SYSTEM_ROLES.find((role) => role.toLowerCase() === lower)
  if (byRole) return byRole
  const service = SERVICE_KINDS.find((kind) => kind === lower)
  return service && ROLE_OF_SERVICE[service]
}

/** What a service exposes, and what routes and access decisions are about. */
export const RESOURCE_KINDS = ['node', 'app', 'db', 'kube_cluster'] as const
export type ResourceKind = (typeof RESOURCE_KINDS)[number]

const RESOURCE_OF_SERVICE = {
  ssh: 'node',
  app: 'app',
  db: 'db',
  kube: 'kube_cluster',
} as const satisfies Partial<Record<ServiceKind, ResourceKind>>

export const serviceOfResource = (kind: ResourceKind): ServiceKind => {
  switch (kind) {
    case 'node':
      return 'ssh'
    case 'app':
      return 'app'
    case 'db':
      return 'db'
    case 'kube_cluster':
      return 'kube'
  }
}
export const resourceOfService = (service: Exclude<ServiceKind, 'discovery'>): ResourceKind =>
  RESOURCE_OF_SERVICE[service]

/**
 * The first operator and the roles that a new cluster starts with. Locally whoever owns the data directory runs it; in the cloud
 * it lies behind a route that AWS IAM guards (routes/bootstrap.ts).
 */
import type { Clock } from '../core/clock.ts'
import type { EventField } from '../core/domain/event.ts'
import type { ApiRule, Role, RoleRules } from '../core/domain/role.ts'
import type { Traits } from '../core/domain/user.ts'
import { newId, type KeyId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { apiKeyHash, newKeySecret } from '../core/domain/api-key.ts'
import type { Stores } from './store/stores.ts'

export interface BootstrapDeps {
  readonly clock: Clock
  readonly random: Random
  readonly stores: Pick<Stores, 'roles' | 'users' | 'apiKeys' | 'events'>
}

export interface BootstrapRequest {
  readonly user: string
  readonly roles: readonly string[]
  readonly traits?: Traits
  /** What else the audit log is told: who asked, from where. */
  readonly by?: Readonly<Record<string, EventField>>
}
export interface Bootstrapped {
  /** `pst_key_…`, shown once and stored only as a hash. May do everything. */
  readonly operatorKey: string
  readonly keyId: KeyId
}

const NOTHING: RoleRules = { logins: [], nodeLabels: undefined, appLabels: undefined, rules: [] }
const EVERYTHING: ApiRule = { resources: ['*'], verbs: ['*'] }
const OPTIONS: Role['options'] = {
  maxSessionTtl: undefined,
  forwardAgent: false,
  localForwarding: true,
  remoteForwarding: true,
  fileCopy: true,
  idleTimeout: undefined,
  maxSessions: undefined,
  lock: 'best_effort',
}

/** `access` reaches everything, `editor` changes everything, `auditor` reads the log. */
export const DEFAULT_ROLES: readonly Role[] = [
  {
    name: 'access',
    allow: {
      logins: ['{{internal.logins}}'],
      nodeLabels: { '*': ['*'] },
      appLabels: { '*': ['*'] },
      rules: [],
    },
    deny: NOTHING,
    options: { ...OPTIONS, forwardAgent: true },
  },
  { name: 'editor', allow: { ...NOTHING, rules: [EVERYTHING] }, deny: NOTHING, options: OPTIONS },
  {
    name: 'auditor',
    allow: { ...NOTHING, rules: [{ resources: ['event'], verbs: ['list', 'read'] }] },
    deny: NOTHING,
    options: OPTIONS,
  },
]

/** For a cluster that has just been made; roles that are there stay as they are. */
export async function createDefaultRoles(roles: Stores['roles']): Promise<void> {
  const known = new Set((await roles.list()).map((role) => role.name))
  for (const role of DEFAULT_ROLES) if (!known.has(role.name)) await roles.put(role)
}

/** Creates or updates the user and mints an operator key. Repeatable, as break-glass, and audited each time. */
export async function bootstrap(
  { clock, random, stores }: BootstrapDeps,
  request: BootstrapRequest,
): Promise<Bootstrapped> {
  const now = clock.now()
  const { user: name, roles, traits = {} } = request
  await stores.users.put({ name, roles, traits, created: now })
  const operatorKey = newKeySecret(random)
  const keyId = newId('key', now, random)
  await stores.apiKeys.create(
    {
      id: keyId,
      name: `operator-${name}`,
      owner: name,
      scopes: [EVERYTHING],
      created: now,
      expires: undefined,
    },
    apiKeyHash(operatorKey),
  )
  await stores.events.append({
    type: 'operator.bootstrap',
    outcome: 'ok',
    actor: name,
    resource: `user/${name}`,
    session: undefined,
    reason: undefined,
    fields: { ...request.by, key: keyId, roles: [...roles] },
  })
  return { operatorKey, keyId }
}

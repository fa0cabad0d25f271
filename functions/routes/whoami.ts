/** `GET /v1/whoami`: who the caller is to the control plane, and what it may do there now. */
import { permissions } from '../../core/access/permits.ts'
import type { Whoami } from '../../core/api/login.ts'
import { seconds } from '../../core/clock.ts'
import type { CallerDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'
import { callerOf } from '../middleware/caller.ts'
import type { Caller } from '../middleware/callers.ts'
import { may } from '../middleware/rights.ts'

const names = (roles: readonly { readonly name: string }[]): string[] =>
  roles.map((role) => role.name)

function describe(caller: Caller): Omit<Whoami, 'permissions'> {
  switch (caller.kind) {
    case 'operator': {
      const { name, owner, expires } = caller.key
      return {
        kind: 'operator',
        name,
        owner,
        roles: names(caller.roles),
        logins: [],
        ...(expires === undefined ? {} : { expires: seconds(expires) }),
      }
    }
    case 'workload': {
      const { connector, issuer, subject, roles, expires } = caller
      const name = `${connector}/${subject}`
      const facts = { issuer, subject, roles: names(roles), expires: seconds(expires) }
      return { kind: 'workload', name, logins: [], ...facts }
    }
    case 'user': {
      const { user, logins, expires } = caller.identity
      const roles = names(caller.roles)
      return { kind: 'user', name: user, roles, logins: [...logins], expires: seconds(expires) }
    }
    case 'agent':
      return { kind: 'agent', name: caller.identity.agentId, roles: [], logins: [] }
    case 'proxy':
      return { kind: 'proxy', name: caller.identity.proxyId, roles: [], logins: [] }
  }
}

export function whoamiRoutes(app: VerbApp, deps: CallerDeps): void {
  app.get('/v1/whoami', async (c) => {
    const caller = await callerOf(deps, c)
    const rights = permissions((kind, verb) => may(caller, kind, verb))
    const answer: Whoami = { ...describe(caller), permissions: rights }
    return c.json(answer)
  })
}

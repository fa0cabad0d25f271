/** `GET /v1/whoami`: who the caller is to the control plane. */
import type { Whoami } from '../../core/api/login.ts'
import { seconds } from '../../core/clock.ts'
import type { CallerDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'
import { callerOf, type Caller } from '../middleware/caller.ts'

function describe(caller: Caller): Whoami {
  switch (caller.kind) {
    case 'operator': {
      const { name, expires } = caller.key
      return {
        kind: 'operator',
        name,
        roles: [],
        logins: [],
        ...(expires === undefined ? {} : { expires: seconds(expires) }),
      }
    }
    case 'user': {
      const { user, logins, expires } = caller.identity
      const roles = caller.roles.map((role) => role.name)
      return { kind: 'user', name: user, roles, logins: [...logins], expires: seconds(expires) }
    }
    case 'agent':
      return { kind: 'agent', name: caller.identity.agentId, roles: [], logins: [] }
    case 'proxy':
      return { kind: 'proxy', name: caller.identity.proxyId, roles: [], logins: [] }
  }
}

export function whoamiRoutes(app: VerbApp, deps: CallerDeps): void {
  app.get('/v1/whoami', async (c) => c.json(describe(await callerOf(deps, c))))
}

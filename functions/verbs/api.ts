/** Verb `api`: everything that operators, programs and agents ask for by name. No signing rights. */
import type { ApiDeps } from '../deps.ts'
import type { VerbApp } from '../http.ts'
import { idempotency } from '../middleware/idempotency.ts'
import { agentRoutes } from '../routes/agents.ts'
import { agentSelfRoutes } from '../routes/agents-self.ts'
import { connectorRoutes } from '../routes/connectors.ts'
import { eventRoutes } from '../routes/events.ts'
import { installRoutes } from '../routes/install.ts'
import { keyRoutes } from '../routes/keys.ts'
import { lockRoutes } from '../routes/locks.ts'
import { openapiRoutes } from '../routes/openapi.ts'
import { publicRoutes } from '../routes/public.ts'
import { roleRoutes } from '../routes/roles.ts'
import { servedRoutes } from '../routes/served.ts'
import { spiffeRoutes } from '../routes/spiffe.ts'
import { tokenRoutes } from '../routes/tokens.ts'
import { userRoutes } from '../routes/users.ts'
import { whoamiRoutes } from '../routes/whoami.ts'

export function mountApi(app: VerbApp, deps: ApiDeps): void {
  app.use('/v1/*', idempotency(deps))
  publicRoutes(app, deps)
  openapiRoutes(app, deps)
  installRoutes(app, deps)
  spiffeRoutes(app, deps)
  whoamiRoutes(app, deps)
  tokenRoutes(app, deps)
  keyRoutes(app, deps)
  connectorRoutes(app, deps)
  roleRoutes(app, deps)
  userRoutes(app, deps)
  lockRoutes(app, deps)
  servedRoutes(app, deps)
  agentSelfRoutes(app, deps)
  agentRoutes(app, deps)
  eventRoutes(app, deps)
}
